"""How scans are prepared: the choices of one run, checked once, and those of the source studies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from neuroxai.errors import InputError, one_of

REGISTRATIONS = ("none", "linear", "nonlinear")
"""Variants of registration: padding and cropping alone, affine, or affine and a diffeomorphism."""

MODALITIES = ("T1w", "FLAIR")
SCALINGS = ("minmax", "maximum", "zscore", "robust", "none")
"""Of intensities; the first three are those of `neuroxai.components.transforms.NormaliseScand`."""

BRAINS = ("auto", "deepbet", "template", "none")
CENTRES = ("brain", "image")
FILLINGS = ("valverde", "eitel2019")
ENGINES = ("ants", "itk")
"""Of registration, by preference; each name is also the module to import."""


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
        Registration engine.
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
        known = {
            "arm": REGISTRATIONS,
            "modality": MODALITIES,
            "scaling": SCALINGS,
            "brain": BRAINS,
            "centre": CENTRES,
            "filling": FILLINGS,
            "engine": ("auto", *ENGINES),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise one_of(name, getattr(self, name), values)
        if not 0.5 <= self.spacing <= 8:
            raise InputError(f"spacing is {self.spacing:g} mm, expected 0.5 to 8 mm, for example 1 or 2")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected a whole number of 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Preset:
    """The choices of one study.

    Parameters
    ----------
    options : PrepareOptions
        As stated. Bias correction is for scans that come without it; scans of ADNI came with it.
    source : str
        Where the choices are stated.
    note : str
        What the source leaves open or does otherwise, in one or two sentences.
    fills_lesions : bool
        Whether a lesion mask is needed for every patient.
    """

    options: PrepareOptions
    source: str
    note: str = ""
    fills_lesions: bool = False


_EITEL2019 = PrepareOptions(modality="FLAIR")
_KLINGENBERG = PrepareOptions(spacing=1.0)
_KLINGENBERG_NOTE = (
    "182 x 218 x 182 voxels of the FSL template there, the same 1 mm here on the grid of 193 x 229 x 193. "
    "Intensity scaling is not stated: min-max, as in Boehle 2019, whose network it uses."
)

PRESETS = {
    "boehle2019": Preset(
        PrepareOptions("nonlinear", 1.0),
        "Boehle 2019, section 2.1 (ANTs, ICBM152 2009c at 1 mm); scaling as in the published code",
        "Skull-stripped and scaled per scan, 193 x 229 x 193 voxels.",
    ),
    "eitel2019": Preset(
        _EITEL2019,
        "Eitel 2019, section 2.2 (N4, linear to MNI, FLAIR to T1w, 96 x 114 x 96, min-max per subject)",
        "The published code divides by the maximum: the same for brain-extracted scans, whose minimum is 0.",
    ),
    "eitel2019_filled": Preset(
        _EITEL2019,
        "Eitel 2019, section 2.2: as eitel2019 with lesions filled after Valverde 2014",
        "The published code fills otherwise; choose the variant 'eitel2019' for it.",
        fills_lesions=True,
    ),
    "eitel2019_pretraining": Preset(
        PrepareOptions("nonlinear"),
        "Eitel 2019, section 2.3 (ANTs, MNI, 96 x 114 x 96, standardised)",
        "The published code adds a z-score per voxel over the cohort, which would carry test scans into training.",
    ),
    "klingenberg2021_none": Preset(
        replace(_KLINGENBERG, arm="none", centre="image"), "Klingenberg 2021, section 2.2 (3)", _KLINGENBERG_NOTE
    ),
    "klingenberg2021_linear": Preset(_KLINGENBERG, "Klingenberg 2021, section 2.2 (1)", _KLINGENBERG_NOTE),
    "klingenberg2021_nonlinear": Preset(
        replace(_KLINGENBERG, arm="nonlinear"), "Klingenberg 2021, section 2.2 (2)", _KLINGENBERG_NOTE
    ),
    "eitel2021": Preset(
        PrepareOptions("nonlinear", scaling="maximum"),
        "Eitel 2021, Methods, ADNI (ANTs, ICBM152 2009c, 96 x 114 x 96; divided by the maximum)",
    ),
    "eitel2021_ms": Preset(
        replace(_EITEL2019, scaling="maximum"),
        "Eitel 2021, Methods, VIMS (bias field, T1w linear to MNI, FLAIR to T1w, 96 x 114 x 96; by the maximum)",
    ),
    "eitel2021_sex": Preset(
        PrepareOptions("nonlinear", 1.0, scaling="maximum", bias_correction=False),
        "Eitel 2021, Methods, UK Biobank (non-linear by FSL, 182 x 218 x 182; divided by the maximum)",
        "UK Biobank's own pipeline registered these scans; here ANTs does.",
    ),
}
"""How the source studies prepared their scans, by name."""


def choose(preset: str | None = None, **choices: Any) -> PrepareOptions:
    """Put a run's choices together: a study's preset, and what replaces single ones of it.

    Parameters
    ----------
    preset : str, optional
        A name of `PRESETS`.
    **choices
        Fields of `PrepareOptions`; None leaves the preset's value, or the default.

    Raises
    ------
    InputError
        For an unknown preset or value.
    """
    if preset is not None and preset not in PRESETS:
        raise one_of("preset", preset, PRESETS)
    options = PrepareOptions() if preset is None else PRESETS[preset].options
    return replace(options, **{name: value for name, value in choices.items() if value is not None})
