"""Where voxels are: `Space` (shape and affine, mm, RAS) and `Volume` (an array in a space).

World coordinates are millimetres with x to the right, y to the front and z up (RAS+), as in NIfTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import SpaceError
from neuroxai.majority import majority
from neuroxai.sampling import sampled, smoothing

_AXES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Space:
    """A voxel grid in the world.

    Parameters
    ----------
    shape : sequence of int
        Voxels along the three axes.
    affine : array_like, shape (4, 4)
        Maps voxel indices to world millimetres (RAS+). Copied, float64, read-only afterwards.

    Raises
    ------
    SpaceError
        If the shape is not three positive numbers, or the affine is not finite and invertible.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __init__(self, shape: Sequence[int], affine: Any) -> None:
        size = tuple(int(n) for n in shape)
        if len(size) != 3 or min(size) < 1:
            raise SpaceError(f"a space needs three positive axis lengths, got {tuple(shape)}")
        matrix = np.array(affine, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise SpaceError(f"an affine is a 4 x 4 matrix, got shape {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise SpaceError("the affine holds NaN or infinite values; repair the header (for example with nibabel)")
        if not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise SpaceError(f"the affine's last row is {matrix[3].tolist()}, expected [0, 0, 0, 1]")
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if lengths.min() < 1e-6 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
            raise SpaceError(
                f"the affine cannot be inverted (voxel sizes {np.round(lengths, 6).tolist()} mm); "
                "repair the header's sform or qform"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", size)
        object.__setattr__(self, "affine", matrix)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Axis codes such as ``"RAS"``: the direction in which each voxel axis mainly runs."""
        codes = [""] * 3
        for axis, (world, positive) in enumerate(_closest_axes(self.affine)):
            codes[axis] = _AXES[world][positive]
        return "".join(codes)

    def matches(self, other: Space, tolerance: float = 1e-2) -> bool:
        """Tell whether two spaces have the same shape and corners that agree within `tolerance` mm."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        difference = (self.affine - other.affine)[:3] @ np.vstack([corners, np.ones(8)])
        return bool(np.abs(difference).max() <= tolerance)

    def to_voxels_of(self, other: Space) -> NDArray[np.float64]:
        """Return the 4 x 4 matrix that takes this space's voxel indices to the other's.

        Rounded at 1e-9 voxel, so that flips, permutations and whole-voxel shifts come out exact and
        resampling between such grids copies values instead of blending them.
        """
        matrix: NDArray[np.float64] = np.round(np.linalg.solve(other.affine, self.affine), 9) + 0.0
        return matrix

    def world(self, voxels: Any) -> NDArray[np.float64]:
        """World coordinates (mm, RAS+) of voxel indices, shape (..., 3)."""
        index: NDArray[np.float64] = np.asarray(voxels, dtype=np.float64)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxels(self, world: Any) -> NDArray[np.float64]:
        """Continuous voxel indices of world coordinates (mm, RAS+), shape (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        index: NDArray[np.float64] = np.asarray(world, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return index

    def corners(self, margin: float = 0.0) -> NDArray[np.float64]:
        """World coordinates of the grid's outer corners, grown by `margin` voxels on every side, shape (8, 3)."""
        ends = [(-0.5 - margin, n - 0.5 + margin) for n in self.shape]
        return self.world(np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)

    def box_around(self, points: Any) -> tuple[slice, slice, slice]:
        """Slices of the grid that hold world points, shape (n, 3), clipped to the grid."""
        index = self.voxels(points)
        low = np.clip(np.floor(index.min(0)).astype(int), 0, self.shape)
        high = np.clip(np.ceil(index.max(0)).astype(int) + 1, 0, self.shape)
        x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return x, y, z

    def cut(self, box: Sequence[slice]) -> Space:
        """Return the part of the grid within slices that have a start and a stop."""
        affine = self.affine.copy()
        affine[:3, 3] = self.world([part.start for part in box])
        return Space([part.stop - part.start for part in box], affine)

    def reoriented(self, orientation: str = "RAS") -> Space:
        """Return the same grid with its axes permuted and flipped towards `orientation`."""
        matrix, shape = _axis_change(self, orientation)
        return Space(shape, self.affine @ matrix)

    def describe(self) -> str:
        """One phrase for messages: ``96 x 114 x 96 voxels of 2 x 2 x 2 mm, RAS``."""
        shape = " x ".join(str(n) for n in self.shape)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        return f"{shape} voxels of {spacing} mm, {self.orientation}"

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Space:
        """Rebuild a space from `to_dict`."""
        try:
            return cls(values["shape"], values["affine"])
        except SpaceError:
            raise
        except (LookupError, TypeError, ValueError, OverflowError):
            raise SpaceError(f"a grid is {str(values)[:200]}, expected an object with 'shape' and 'affine'") from None


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional array in a space.

    Parameters
    ----------
    data : ndarray, shape ``space.shape``
        One value per voxel.
    space : Space
        Where the voxels are.
    """

    data: NDArray[Any]
    space: Space

    def __post_init__(self) -> None:
        if self.data.shape != self.space.shape:
            raise SpaceError(f"data of shape {self.data.shape} does not fit a space of shape {self.space.shape}")

    def reoriented(self, orientation: str = "RAS") -> Volume:
        """Permute and flip the axes towards `orientation`; no value changes, no voxel moves in the world."""
        matrix, _ = _axis_change(self.space, orientation)
        order = [int(np.argmax(np.abs(matrix[:3, axis]))) for axis in range(3)]
        flips = tuple(axis for axis in range(3) if matrix[order[axis], axis] < 0)
        data = np.ascontiguousarray(np.flip(np.transpose(self.data, order), flips))
        return Volume(data, self.space.reoriented(orientation))

    def resampled_to(self, space: Space, order: int = 1, antialias: bool = True) -> Volume:
        """Resample into another space by world coordinates; outside the field of view the value is 0.

        Parameters
        ----------
        space : Space
            The grid asked for.
        order : {0, 1, 3}
            0 for labels and masks: each voxel takes the label that fills most of it (`neuroxai.majority`), 1 for
            linear, 3 for cubic splines.
        antialias : bool
            Smooth along axes that become coarser, so that nothing falls between the new voxels. The Gaussian's
            full width at half maximum brings a source voxel's width to the target's (Cardoso 2015, eq. 3).
            Ignored for ``order=0``.

        Returns
        -------
        Volume
            Floating data stay of their type; integers become float32 unless ``order=0``.
        """
        matrix = space.to_voxels_of(self.space)
        if order == 0:
            return Volume(majority(self.data, matrix, space.shape), space)
        data = self.data
        if not np.issubdtype(data.dtype, np.floating):
            data = data.astype(np.float32)
        sigma = smoothing(matrix) if antialias else None
        return Volume(sampled(data, matrix, space.shape, order, sigma), space)


def mni152(spacing: float = 2.0) -> Space:
    """Return the package's standard grid in MNI152 space.

    1 mm is the ICBM152 2009c grid of 193 x 229 x 193 voxels (Boehle 2019). Other spacings cover the field of view of
    the 96 x 114 x 96 grid at 2 mm (Eitel 2019, 2021): 4 mm gives 48 x 57 x 48.

    Parameters
    ----------
    spacing : float
        Isotropic voxel size in mm, from 0.5 to 16.
    """
    if not 0.5 <= spacing <= 16:
        raise SpaceError(f"spacing {spacing} mm is out of range; choose 0.5 to 16 mm, for example 2")
    affine = np.diag([spacing, spacing, spacing, 1.0])
    if spacing == 1:
        affine[:3, 3] = (-96.0, -132.0, -78.0)
        return Space((193, 229, 193), affine)
    low, size = np.array([-97.0, -131.0, -77.0]), np.array([192.0, 228.0, 192.0])
    shape = np.ceil(size / spacing - 1e-9).astype(int)
    affine[:3, 3] = low + size / 2 - (shape - 1) * spacing / 2
    return Space(shape.tolist(), affine)


def _closest_axes(affine: NDArray[np.float64]) -> list[tuple[int, bool]]:
    """For each voxel axis the world axis it runs along, each used once, and whether in the positive direction."""
    from itertools import permutations

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[p[axis], axis]) for axis in range(3)))
    return [(world, bool(cosines[world, axis] > 0)) for axis, world in enumerate(best)]


def _axis_change(space: Space, orientation: str) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Matrix from reoriented voxel indices to the present ones, and the reoriented shape."""
    axes = [(world, int(code == pair[1])) for code in orientation for world, pair in enumerate(_AXES) if code in pair]
    if sorted(world for world, _ in axes) != [0, 1, 2] or len(orientation) != 3:
        raise SpaceError(f"orientation {orientation!r} is not valid; name one of L/R, P/A and I/S each, such as 'RAS'")
    present = _closest_axes(space.affine)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    shape = []
    for new_axis, (world, positive) in enumerate(axes):
        axis = [w for w, _ in present].index(world)
        flip = present[axis][1] != bool(positive)
        matrix[axis, new_axis] = -1.0 if flip else 1.0
        if flip:
            matrix[axis, 3] = space.shape[axis] - 1
        shape.append(space.shape[axis])
    return matrix, (shape[0], shape[1], shape[2])
