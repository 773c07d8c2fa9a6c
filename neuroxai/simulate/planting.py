"""What is planted in the user's own scans, where and how much."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuroxai.errors import InputError, one_of
from neuroxai.io import read_space
from neuroxai.simulate.choice import Regions, check_grid
from neuroxai.simulate.curve import Curve
from neuroxai.simulate.effect import Effect
from neuroxai.simulate.extras import Extras
from neuroxai.simulate.lesions import Lesions
from neuroxai.simulate.shrink import LOSSES, Shrink
from neuroxai.simulate.sources import Source
from neuroxai.simulate.tissue import anatomy_of
from neuroxai.simulate.transplant import RealLesions
from neuroxai.space import Volume

OWN_EFFECTS: dict[str, type[Effect]] = {"atrophy": Shrink, "lesions": Lesions}
"""The effects on real scans by name."""


@dataclass(frozen=True)
class Planting:
    """What is planted in real scans, and how they come out.

    Parameters
    ----------
    effect : {"atrophy", "lesions"}
        What is planted.
    loss : float
        Percent that each region loses (atrophy).
    regions : Regions
        Which regions (atrophy).
    extras : Extras
        Real lesions, pose, head.
    curve : Curve
        How a T1w comes to look like a FLAIR (lesions).

    Raises
    ------
    InputError
        If the effect is unknown, the loss out of range, or lesion masks are given with another effect.
    """

    effect: str
    loss: float = 25.0
    regions: Regions = field(default_factory=Regions)
    extras: Extras = field(default_factory=Extras)
    curve: Curve = field(default_factory=Curve)

    def __post_init__(self) -> None:
        if self.effect not in OWN_EFFECTS:
            raise one_of("effect", self.effect, OWN_EFFECTS)
        if self.extras.masks is not None and self.effect != "lesions":
            raise InputError(f"lesion masks are planted by --effect lesions, got {self.effect!r}")
        if not LOSSES[0] <= self.loss <= LOSSES[1]:
            raise InputError(f"--loss is {self.loss:g} %, wanted {LOSSES[0]:g} to {LOSSES[1]:g} %")

    @property
    def kind(self) -> type[Effect]:
        """The effect's class."""
        return RealLesions if self.extras.masks is not None else OWN_EFFECTS[self.effect]

    def suffix(self, source: Source) -> str:
        """Contrast of what comes of a source."""
        return self.kind.suffix if source.suffix == "T1w" else source.suffix

    def prepared(self, source: Source, masks: list[Volume], scan: Volume) -> tuple[Effect, float]:
        """Prepare the effect on a source's anatomy; with the scan's intensity of white matter."""
        anatomy, white = anatomy_of(scan, source.scan.name, source.suffix)
        if masks:
            return RealLesions(anatomy, masks), white
        if self.effect == "lesions":
            return Lesions(anatomy), white
        if source.label_map is not None:
            check_grid(source.label_map, read_space(source.label_map), scan.space)
        return Shrink(anatomy, self.regions.finder(source.label_map), self.loss), white
