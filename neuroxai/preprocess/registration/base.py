"""Registration engines: what all do alike, the choice of one, and ITK's world (LPS) against ours (RAS)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess.registration.initialisation import Pair, pair
from neuroxai.space import Space, Volume

Matrix = NDArray[np.float64]


class Engine(ABC):
    """Registration; same input, same bytes.

    Pictures may have any orientation and contrast: likeness is mutual information. Masks say where the brain is, each
    on its picture's grid; what lies outside does not take part. A brain alone (by a mask, or because the picture is
    skull-stripped) against a head is judged on the brain and 2 mm around it.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    """What is to be installed."""

    @property
    def version(self) -> str:
        """The package's version."""
        return version(self.package)

    def rigid(
        self,
        fixed: Volume,
        moving: Volume,
        seed: int = 0,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
    ) -> Matrix:
        """Align two pictures by a rotation and a shift.

        Parameters
        ----------
        fixed, moving : Volume
            The pictures.
        seed : int
            Of the samples drawn.
        fixed_mask, moving_mask : Volume, optional
            Where the brain is.

        Returns
        -------
        ndarray of float64, shape (4, 4)
            Takes fixed world points to moving world points (mm, RAS+): the moving picture sampled at ``matrix @ x``
            is what belongs at x.

        Raises
        ------
        InputError
            If a picture is constant or not finite, or a mask is empty.
        SpaceError
            If a mask lies on another grid than its picture.
        """
        both = pair(fixed, moving, fixed_mask, moving_mask)
        return nearest_rigid(self._linear(both, seed, scale=False), both.fixed_centre)

    def affine(
        self,
        fixed: Volume,
        moving: Volume,
        seed: int = 0,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
    ) -> Matrix:
        """Align two pictures by an affine map; parameters, result and errors as for `rigid`."""
        return self._linear(pair(fixed, moving, fixed_mask, moving_mask), seed, scale=True)

    def deformable(
        self,
        fixed: Volume,
        moving: Volume,
        affine: Matrix,
        seed: int = 0,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
    ) -> tuple[Displacement, Displacement]:
        """Refine an affine map by a diffeomorphism.

        Parameters
        ----------
        fixed, moving : Volume
            The pictures; the fixed one's axes are at right angles.
        affine : ndarray, shape (4, 4)
            As `affine` gives it.
        seed : int
            Of the samples drawn.
        fixed_mask, moving_mask : Volume, optional
            Where the brain is.

        Returns
        -------
        (Displacement, Displacement)
            The warp u and its inverse v, both on the fixed grid, mm. A fixed point x lies at ``affine @ (x + u(x))`` in
            the moving picture; from y there, with ``z = inv(affine) @ y``, the way back is x = z + v(z).

        Raises
        ------
        InputError
            If the engine has none, or as for `rigid`.
        SpaceError
            If the fixed grid is sheared, or as for `rigid`.
        """
        raise InputError(
            f"the engine {self.name!r} has no non-linear registration; run `pip install 'neuroxai[prepare]'` and "
            "choose 'ants', or stay with the linear variant"
        )

    @abstractmethod
    def _linear(self, both: Pair, seed: int, scale: bool) -> Matrix:
        """Find a pose, or with `scale` an affine map; as `rigid` and `affine` give it."""


_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def flipped(matrix: Matrix) -> Matrix:
    """Turn a map between RAS worlds into the same map between LPS worlds, or back; 4 x 4."""
    return np.asarray(_FLIP @ matrix @ _FLIP)


def geometry(space: Space) -> tuple[list[float], list[float], Matrix]:
    """Origin (mm, LPS), spacing (mm) and direction cosines (columns) of a grid.

    Raises
    ------
    SpaceError
        If the axes are not at right angles: ITK knows no sheared grids.
    """
    world = _FLIP @ space.affine
    spacing = np.array(space.spacing)
    direction = world[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-4:
        raise SpaceError(
            f"the grid of {space.describe()} is sheared, which registration cannot take; resample the picture to a "
            "grid with axes at right angles"
        )
    # float32 headers leave errors of 1e-7 that ITK would refuse: the nearest rotation
    left, _, right = np.linalg.svd(direction)
    return world[:3, 3].tolist(), spacing.tolist(), np.asarray(left @ right)


def about(matrix: Matrix, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift of a map written as ``linear @ (x - centre) + shift + centre``, as ITK parametrises it; shape (3,)."""
    return np.asarray(matrix[:3, :3] @ centre + matrix[:3, 3] - centre)


def from_centred(linear: NDArray[np.float64], shift: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Undo `about`: the 4 x 4 matrix."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = shift + centre - linear @ centre
    return matrix


def nearest_rigid(matrix: Matrix, at: NDArray[np.float64]) -> Matrix:
    """Replace the linear part by the nearest rotation, keeping the image of the point `at`."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    result = np.eye(4)
    result[:3, :3] = rotation
    result[:3, 3] = matrix[:3, :3] @ at + matrix[:3, 3] - rotation @ at
    return result
