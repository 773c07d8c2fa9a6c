"""How a scan lies against a mean image: a rigid registration of small maps in milliseconds, for a check alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 12
# a rotation that the maps hardly determine (a ball's) stays near 0
_PRIOR = 0.02


@dataclass(frozen=True, eq=False)
class CoarsePose:
    """Rigid registration to fixed maps by the inverse compositional algorithm (Baker and Matthews 2004, section 3.2).

    Parameters
    ----------
    maps : sequence of ndarray, (x, y, z)
        Mean maps, such as where the brain lies and its intensities; each counts alike.
    size : sequence of float
        mm of a voxel along each axis.
    """

    maps: Sequence[NDArray[np.float32]]
    size: Sequence[float]
    _points: Floats = field(init=False)
    _fixed: list[Floats] = field(init=False)
    _solver: Floats = field(init=False)
    _centre: Floats = field(init=False)

    def __post_init__(self) -> None:
        grid = np.moveaxis(np.indices(self.maps[0].shape, dtype=np.float64), 0, -1)
        weight = np.clip(self.maps[0].astype(np.float64), 0, None)
        centre = (grid * weight[..., None]).sum(axis=(0, 1, 2)) / max(weight.sum(), 1e-9)
        points = ((grid - centre) * np.asarray(self.size)).reshape(-1, 3)
        rows, fixed = [], []
        for one in self.maps:
            values = _standard(one.astype(np.float64))
            gradient = np.stack(list(np.gradient(values, *self.size)), axis=-1).reshape(-1, 3)
            rows.append(np.hstack([np.cross(points, gradient), gradient]))
            fixed.append(values.ravel())
        jacobian = np.vstack(rows)
        normal = jacobian.T @ jacobian
        # rotations and shifts have units of their own
        damped = normal + _PRIOR * np.diag(np.repeat([np.trace(normal[:3, :3]), np.trace(normal[3:, 3:])], 3) / 3)
        object.__setattr__(self, "_points", points)
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_solver", np.linalg.solve(damped, jacobian.T))
        object.__setattr__(self, "_centre", centre)

    def __call__(self, maps: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
        """Return by how many degrees and mm a scan's maps are turned and shifted."""
        from scipy.ndimage import map_coordinates
        from scipy.spatial.transform import Rotation

        moving = [_standard(one.astype(np.float64)) for one in maps]
        turn, shift = np.eye(3), np.zeros(3)
        for _ in range(_STEPS):
            voxels = (self._points @ turn.T + shift) / np.asarray(self.size) + self._centre
            warped = [
                map_coordinates(one, voxels.T, order=1, mode="constant", cval=float(one[0, 0, 0])) for one in moving
            ]
            step = self._solver @ np.concatenate([w - f for w, f in zip(warped, self._fixed, strict=True)])
            back = Rotation.from_rotvec(-step[:3]).as_matrix()
            turn, shift = turn @ back, shift - turn @ back @ step[3:]
            if float(np.abs(step[:3]).max()) < 1e-3 and float(np.abs(step[3:]).max()) < 0.1:
                break
        degrees = float(np.degrees(Rotation.from_matrix(turn).magnitude()))
        return degrees, float(np.linalg.norm(shift))


def _standard(values: Floats) -> Floats:
    spread = float(values.std())
    return np.asarray((values - values.mean()) / (spread or 1.0), dtype=np.float64)
