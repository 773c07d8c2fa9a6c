"""How scans are prepared: the choices of one run, checked once, and those of the source studies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neuroxai.errors import InputError, one_of

BRAINS = ("auto", "deepbet", "template", "none")
CENTRES = ("brain", "image")


@dataclass(frozen=True)
class PrepareOptions:
    """The choices of a preparation.

    Parameters
    ----------
    arm : {"none", "linear", "nonlinear"}
        Registration to the template: padding and cropping alone, affine, or affine and a diffeomorphism.
    spacing : float
        Voxel size in mm of the prepared scans' grid, `neuroxai.space.mni152`.
    modality : {"T1w", "FLAIR"}
        What the scans are. A FLAIR scan is first aligned to the T1w scan of its session, where there is one.
    scaling : str
        Intensities inside the brain, see `neuroxai.preprocess.intensity.scale`.
    brain : {"auto", "deepbet", "template", "none"}
        Brain extraction: deepbet where it is installed and else the template's mask carried to the scan; one of the
        two; or none, so that the skull stays.
    centre : {"brain", "image"}
        Without registration, what is put in the middle of the grid: the brain's bounding box or the field of view.
    bias_correction : bool
        N4 (Tustison 2010).
    filling : {"valverde", "eitel2019"}
        How lesions are filled where masks of them are given, see `neuroxai.preprocess.fill_lesions`.
    engine : {"auto", "ants", "itk"}
        What registers.
    seed : int
        For everything drawn: registration's samples, filled intensities.

    Raises
    ------
    InputError
        For a value that is none of these.
    """

    arm: str = "linear"
    spacing: float = 2.0
    modality: str = "T1w"
    scaling: str = "minmax"
    brain: str = "auto"
    centre: str = "brain"
    bias_correction: bool = True
    filling: str = "valverde"
    engine: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        from neuroxai.preprocess.intensity import SCALINGS
        from neuroxai.preprocess.lesions import VARIANTS
        from neuroxai.preprocess.qc.flags import ARMS, MODALITIES
        from neuroxai.preprocess.registration.base import ENGINES

        known = {
            "arm": ARMS,
            "modality": MODALITIES,
            "scaling": SCALINGS,
            "brain": BRAINS,
            "centre": CENTRES,
            "filling": VARIANTS,
            "engine": ("auto", *ENGINES),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise one_of(name, getattr(self, name), values)
        if not 0.5 <= self.spacing <= 8:
            raise InputError(f"spacing is {self.spacing:g} mm, wanted 0.5 to 8 mm, for example 1 or 2")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, wanted a whole number of 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def choose(preset: str | None = None, **choices: Any) -> PrepareOptions:
    """Put a run's choices together: a study's preset, and what replaces single ones of it.

    Parameters
    ----------
    preset : str, optional
        A name of `neuroxai.preprocess.options.PRESETS`.
    **choices
        Fields of `PrepareOptions`; None leaves the preset's value, or the default.

    Raises
    ------
    InputError
        For an unknown preset or value.
    """
    from neuroxai.preprocess.options import preset as look_up

    values: dict[str, Any] = {}
    if preset is not None:
        study = look_up(preset)
        names = ("arm", "spacing", "modality", "scaling", "bias_correction", "centre")
        values = {name: getattr(study, name) for name in names}
        values |= {"filling": study.lesion_filling} if study.lesion_filling else {}
    return PrepareOptions(**values | {name: value for name, value in choices.items() if value is not None})


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
        Variant of `neuroxai.preprocess.lesions.fill_lesions`; needs a lesion mask for every patient.
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
