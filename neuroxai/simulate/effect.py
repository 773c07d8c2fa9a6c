"""What every effect offers: `Effect` plants a change in an anatomy, `Planted` is one subject's change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, field_space
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.space import Space

FIELD_SPACING = 2.0
MARGIN = 14.0

Contrast = Callable[[list[Array]], Array]


@dataclass(frozen=True, eq=False)
class Planted:
    """One subject's change.

    Parameters
    ----------
    warp : Displacement
        Backward: from the changed anatomy to the healthy one.
    log_jacobian : ndarray, shape ``warp.space.shape``
        Log of the local volume change of the tissue that now lies there; negative where it shrank.
    opacity : ndarray or None, shape of the anatomy
        Share of each voxel taken by lesion, 0 to 1, on the healthy anatomy.
    brightness : float
        Lesion intensity, white matter being 1.
    columns : dict of str to float
        What participants.tsv tells of the change.
    """

    warp: Displacement
    log_jacobian: NDArray[np.float32]
    opacity: Array | None = None
    brightness: float = 0.0
    columns: dict[str, float] = field(default_factory=dict)


class Effect(ABC):
    """A change that can be planted in an anatomy; prepared once for a cohort."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    warps: ClassVar[bool]
    """Whether tissue moves, so that a log-Jacobian is written."""
    control: ClassVar[str]
    patient: ClassVar[str]
    ages: ClassVar[tuple[float, float, float, float]]
    """Mean, standard deviation, lowest and highest age in years; the same for both classes."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy = anatomy.cropped()
        self.grid = brain_grid(anatomy)
        self.rois: dict[str, Array] = {}
        """Soft regions on the anatomy's grid whose volume is measured in every scan."""

    @abstractmethod
    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """Draw one subject's change; a control gets the same draws with dose 0."""

    @abstractmethod
    def maps(self) -> list[Array]:
        """Return the maps on the anatomy's grid that the contrast needs."""

    @abstractmethod
    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Draw a subject's intensity function: sampled maps in, intensities out (white matter about 1)."""

    @abstractmethod
    def truth(self, log_jacobian: Array, opacity: Array) -> NDArray[np.bool_]:
        """Voxels that count as affected, from the subject's maps on the scan's grid."""


def brain_grid(anatomy: Anatomy) -> Space:
    """Make the 2 mm grid of the velocity and displacement fields: the brain's bounding box and 14 mm around."""
    voxels = np.argwhere(anatomy.brain)
    low, high = voxels.min(0), voxels.max(0)
    affine = anatomy.space.affine.copy()
    affine[:3, 3] = anatomy.space.world(low)
    box = field_space(Space((high - low + 1).tolist(), affine), FIELD_SPACING)
    pad = int(np.ceil(MARGIN / FIELD_SPACING))
    affine = box.affine.copy()
    affine[:3, 3] -= pad * FIELD_SPACING
    return Space([n + 2 * pad for n in box.shape], affine)
