"""How the source studies prepared their scans, as data."""

from __future__ import annotations

from dataclasses import dataclass

from neuroxai.errors import one_of


@dataclass(frozen=True)
class Preset:
    """The choices of one study.

    Parameters
    ----------
    name : str
        What it is called by.
    modality : {"T1w", "FLAIR"}
        The sequence prepared.
    arm : {"none", "linear", "nonlinear"}
        Registration to MNI152; "none" pads and crops.
    spacing : float
        Voxel size of the prepared scans in mm.
    scaling : str
        Of `neuroxai.preprocess.intensity.SCALINGS`.
    bias_correction : bool
        N4 for scans that come without intensity correction. Scans of ADNI came with it.
    lesion_filling : str or None
        Variant of `neuroxai.preprocess.lesion_filling.fill_lesions`; needs a lesion mask for every patient.
    source : str
        Where the choices are stated.
    note : str
        What the source leaves open or does otherwise, in one or two sentences.
    centre : {"brain", "image"}
        What padding and cropping put in the middle.
    """

    name: str
    modality: str
    arm: str
    spacing: float
    scaling: str
    bias_correction: bool
    lesion_filling: str | None
    source: str
    note: str = ""
    centre: str = "brain"


_KLINGENBERG = "Klingenberg 2021, section 2.2"
_KLINGENBERG_NOTE = (
    "182 x 218 x 182 voxels of the FSL template there, the same 1 mm here on the grid of 193 x 229 x 193. "
    "Intensity scaling is not stated: min-max, as in Boehle 2019, whose network it uses."
)

_ALL = (
    Preset(
        "boehle2019",
        "T1w",
        "nonlinear",
        1.0,
        "minmax",
        True,
        None,
        "Boehle 2019, section 2.1 (ANTs, ICBM152 2009c at 1 mm); scaling as in the published code",
        "Skull-stripped and scaled per scan, 193 x 229 x 193 voxels.",
    ),
    Preset(
        "eitel2019",
        "FLAIR",
        "linear",
        2.0,
        "minmax",
        True,
        None,
        "Eitel 2019, section 2.2 (N4, linear to MNI, FLAIR to T1w, 96 x 114 x 96, min-max per subject)",
        "The published code divides by the maximum: the same for brain-extracted scans, whose minimum is 0.",
    ),
    Preset(
        "eitel2019_filled",
        "FLAIR",
        "linear",
        2.0,
        "minmax",
        True,
        "valverde",
        "Eitel 2019, section 2.2: as eitel2019 with lesions filled after Valverde 2014",
        "The published code fills otherwise; choose the variant 'eitel2019' for it.",
    ),
    Preset(
        "eitel2019_pretraining",
        "T1w",
        "nonlinear",
        2.0,
        "minmax",
        True,
        None,
        "Eitel 2019, section 2.3 (ANTs, MNI, 96 x 114 x 96, standardised)",
        "The published code adds a z-score of every voxel over the cohort, which would carry test scans into training.",
    ),
    Preset(
        "klingenberg2021_none",
        "T1w",
        "none",
        1.0,
        "minmax",
        True,
        None,
        _KLINGENBERG + " (3)",
        _KLINGENBERG_NOTE,
        "image",
    ),
    Preset(
        "klingenberg2021_linear", "T1w", "linear", 1.0, "minmax", True, None, _KLINGENBERG + " (1)", _KLINGENBERG_NOTE
    ),
    Preset(
        "klingenberg2021_nonlinear",
        "T1w",
        "nonlinear",
        1.0,
        "minmax",
        True,
        None,
        _KLINGENBERG + " (2)",
        _KLINGENBERG_NOTE,
    ),
    Preset(
        "eitel2021",
        "T1w",
        "nonlinear",
        2.0,
        "maximum",
        True,
        None,
        "Eitel 2021, Methods, ADNI (ANTs, ICBM152 2009c, 96 x 114 x 96; divided by the maximum)",
    ),
    Preset(
        "eitel2021_ms",
        "FLAIR",
        "linear",
        2.0,
        "maximum",
        True,
        None,
        "Eitel 2021, Methods, VIMS (bias field, T1w linear to MNI, FLAIR to T1w, 96 x 114 x 96; by the maximum)",
    ),
    Preset(
        "eitel2021_sex",
        "T1w",
        "nonlinear",
        1.0,
        "maximum",
        False,
        None,
        "Eitel 2021, Methods, UK Biobank (non-linear by FSL, 182 x 218 x 182; divided by the maximum)",
        "UK Biobank's own pipeline registered these scans; here ANTs does.",
    ),
)

PRESETS = {preset.name: preset for preset in _ALL}
"""Every preset by its name."""


def preset(name: str) -> Preset:
    """Look a preset up.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in PRESETS:
        raise one_of("preset", name, PRESETS)
    return PRESETS[name]
