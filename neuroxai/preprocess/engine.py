"""What registers: what all engines do alike, and the choice of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.errors import InputError, one_of
from neuroxai.preprocess.bias import Array, Mask, bias_field
from neuroxai.preprocess.itk_world import nearest_rigid
from neuroxai.preprocess.pair import Pair, pair
from neuroxai.space import Volume

Matrix = NDArray[np.float64]
ENGINES = ("ants", "itk")
"""By preference; each name is also the module to import."""


class Engine(ABC):
    """Bias fields and registration; same input, same bytes.

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

    def bias_field(self, scan: Volume, where: Mask) -> Array:
        """Estimate a scan's bias field (N4, Tustison 2010).

        Parameters
        ----------
        scan : Volume
            The picture; dividing by the field corrects it.
        where : ndarray of bool, shape of the scan
            The tissue that the field is estimated from.

        Returns
        -------
        ndarray of float32, shape of the scan
            Multiplicative, positive, of mean 1 inside `where`.

        Raises
        ------
        SpaceError
            If `where` has another shape than the scan.
        InputError
            If fewer than 100 ml of positive voxels are left.
        """
        with self._one_thread():
            return bias_field(scan, where, self._n4)

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

    @abstractmethod
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

    @abstractmethod
    def _one_thread(self) -> AbstractContextManager[None]:
        """Hold the package to one thread, for sums in one order."""

    @abstractmethod
    def _n4(self, values: Array, where: Mask, spacing: tuple[float, float, float]) -> Array:
        """Estimate the field of a small picture, of its shape."""

    @abstractmethod
    def _linear(self, both: Pair, seed: int, scale: bool) -> Matrix:
        """Find a pose, or with `scale` an affine map; as `rigid` and `affine` give it."""


def create(name: str = "auto") -> Engine:
    """Return an engine.

    Parameters
    ----------
    name : {"auto", "ants", "itk"}
        ``"auto"`` takes ANTs where it is installed, and else ITK, which has no non-linear registration.

    Raises
    ------
    InputError
        If there is no such engine, or its package is not installed.
    """
    if name not in ("auto", *ENGINES):
        raise one_of("registration engine", name, ("auto", *ENGINES))
    from neuroxai.preprocess.ants_engine import AntsEngine
    from neuroxai.preprocess.itk_engine import ItkEngine

    engines: dict[str, type[Engine]] = {"ants": AntsEngine, "itk": ItkEngine}
    installed = [engine for engine in ENGINES if find_spec(engine) is not None]
    chosen = name if name != "auto" else next(iter(installed), "ants")
    if chosen not in installed:
        raise InputError(
            f"the registration engine {name!r} needs the package {engines[chosen].package}, which is not installed; "
            "run `pip install 'neuroxai[prepare]'`" + ("" if name == "auto" else ", or choose 'auto'")
        )
    return engines[chosen]()
