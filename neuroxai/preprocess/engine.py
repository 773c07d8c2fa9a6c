"""What registers: the interface, and the engines that fulfil it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.errors import InputError, one_of
from neuroxai.space import Volume

Matrix = NDArray[np.float64]
ENGINES = ("ants", "itk")
"""By preference; each name is also the module to import."""


class Engine(Protocol):
    """Bias fields and registration; same input, same bytes.

    Pictures may have any orientation and contrast: likeness is mutual information. Masks say where the brain is, each
    on its picture's grid; what lies outside does not take part. A brain alone (by a mask, or because the picture is
    skull-stripped) against a head is judged on the brain and 2 mm around it.
    """

    name: str
    version: str

    def bias_field(self, scan: Volume, where: NDArray[np.bool_]) -> NDArray[np.float32]:
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
        ...

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
        ...

    def affine(
        self,
        fixed: Volume,
        moving: Volume,
        seed: int = 0,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
    ) -> Matrix:
        """Align two pictures by an affine map; parameters, result and errors as for `rigid`."""
        ...

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
        ...


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
    installed = [engine for engine in ENGINES if find_spec(engine) is not None]
    chosen = name if name != "auto" else next(iter(installed), "ants")
    if chosen not in installed:
        package = {"ants": "antspyx", "itk": "itk"}[chosen]
        raise InputError(
            f"the registration engine {name!r} needs the package {package}, which is not installed; "
            "run `pip install 'neuroxai[prepare]'`" + ("" if name == "auto" else ", or choose 'auto'")
        )
    if chosen == "ants":
        from neuroxai.preprocess.ants_engine import AntsEngine

        return AntsEngine()
    from neuroxai.preprocess.itk_engine import ItkEngine

    return ItkEngine()
