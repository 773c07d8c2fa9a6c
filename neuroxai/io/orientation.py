"""What a NIfTI header says about orientation: its sform, its qform, and whether they agree."""

from __future__ import annotations

import os
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.io.nifti import open_image, space_of


@dataclass(frozen=True, eq=False)
class Orientation:
    """The affines a header holds.

    Parameters
    ----------
    shape : tuple of int
        The image's grid.
    sform, qform : ndarray of shape (4, 4) or None
        Voxels to world; None where the header's code is 0, that is, where it is not set.
    """

    shape: tuple[int, int, int]
    sform: NDArray[np.float64] | None
    qform: NDArray[np.float64] | None

    @property
    def known(self) -> bool:
        """Whether the header says at all where left and right are."""
        return self.sform is not None or self.qform is not None

    @property
    def disagreement(self) -> float | None:
        """Largest distance in mm between the two affines' ideas of a corner; None where only one is set."""
        if self.sform is None or self.qform is None:
            return None
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        difference = (self.sform - self.qform)[:3] @ np.vstack([corners, np.ones(8)])
        return float(np.linalg.norm(difference, axis=0).max())

    @property
    def same_handedness(self) -> bool | None:
        """Whether both affines hold or both swap left and right; None where only one is set."""
        if self.sform is None or self.qform is None:
            return None
        return bool(np.linalg.det(self.sform[:3, :3]) * np.linalg.det(self.qform[:3, :3]) > 0)


def read_orientation(path: str | os.PathLike[str]) -> Orientation:
    """Read both affines from a NIfTI header.

    Raises
    ------
    InputError
        If the file is absent, not an image, or not NIfTI.
    SpaceError
        If the image is not three-dimensional or its affine cannot be inverted.
    """
    image = open_image(path)
    if not isinstance(image, nib.Nifti1Pair):
        raise InputError(f"{path}: is a {type(image).__name__}, wanted NIfTI, which holds sform and qform")
    sform, qform = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
    return Orientation(space_of(image, path).shape, sform, qform)
