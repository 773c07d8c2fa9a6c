"""How scans are prepared: the choices of one run, checked once, the same for every scan."""

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
        from neuroxai.preprocess.engine import ENGINES
        from neuroxai.preprocess.intensity import SCALINGS
        from neuroxai.preprocess.lesion_filling import VARIANTS
        from neuroxai.preprocess.quality_flags import ARMS, MODALITIES

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
        A name of `neuroxai.preprocess.presets.PRESETS`.
    **choices
        Fields of `PrepareOptions`; None leaves the preset's value, or the default.

    Raises
    ------
    InputError
        For an unknown preset or value.
    """
    from neuroxai.preprocess.presets import preset as look_up

    values: dict[str, Any] = {}
    if preset is not None:
        study = look_up(preset)
        names = ("arm", "spacing", "modality", "scaling", "bias_correction", "centre")
        values = {name: getattr(study, name) for name in names}
        values |= {"filling": study.lesion_filling} if study.lesion_filling else {}
    return PrepareOptions(**values | {name: value for name, value in choices.items() if value is not None})
