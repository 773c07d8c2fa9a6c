"""Where an image's header says its voxels are: in millimetres, by its sform, its qform, or the user's word."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.io.header import UNITS, broken_qform
from neuroxai.space import Space

VARIABLE = "NEUROXAI_ORIENTATION"
"""Holds the axis codes of images whose headers have none; ``--orientation`` sets it, and processes inherit it."""

TOLERANCE = 1.0
"""Millimetres between two affines at a corner: a quaternion in float32 is off by fractions of one."""


@dataclass(frozen=True, eq=False)
class Orientation:
    """The affines a header holds.

    Parameters
    ----------
    shape : tuple of int
        The image's grid.
    sform, qform : ndarray of shape (4, 4) or None
        Voxels to world in mm; None where the header's code is 0, that is, where it is not set. The one affine of
        another format stands as sform.
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


def orientation_of(image: Any, shape: tuple[int, int, int]) -> Orientation:
    """Return the affines of an opened image; of another format than NIfTI the one it has."""
    if not isinstance(image, nib.Nifti1Pair):
        return Orientation(shape, np.asarray(image.affine, dtype=np.float64), None)
    scale = np.diag([*[millimetres(image)] * 3, 1.0])
    sform = scale @ image.get_sform() if image.header["sform_code"] else None
    qform = None
    if image.header["qform_code"] and not broken_qform(image.header):
        qform = scale @ image.get_qform()
    return Orientation(shape, sform, qform)


def affine_of(image: Any, path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Return an opened image's affine in mm.

    Raises
    ------
    InputError
        If the header has no orientation and its format no default that programs agree on.
    SpaceError
        If another unit than mm makes the image impossibly small or large.
    """
    affine = np.array(image.affine, dtype=np.float64)
    if not _oriented(image, Path(path)):
        codes = os.environ.get(VARIABLE)
        if codes:
            affine = _along(image, codes)
        elif not isinstance(image, nib.Nifti1Pair):
            raise InputError(
                f"{path}: its format ({type(image).__name__}) says nothing of left and right, expected NIfTI with an "
                "affine; convert it from its source, or say how its axes run with --orientation, such as LAS for "
                "Analyze's default"
            )
    unit = millimetres(image) if isinstance(image, nib.Nifti1Pair) else 1.0
    affine[:3] *= unit
    if unit != 1.0 and np.isfinite(affine).all():
        extent = float((np.linalg.norm(affine[:3, :3], axis=0) * np.array(image.shape[:3])).max())
        if not 1.0 <= extent <= 10_000.0:
            raise SpaceError(
                f"{path}: the header's unit is {'micron' if unit < 1 else 'metre'}, which makes the scan "
                f"{extent:.3g} mm long, expected 1 to 10,000; if its numbers are millimetres, set xyzt_units to mm"
            )
    return affine


def given_orientation(path: str | os.PathLike[str]) -> str | None:
    """Return the axis codes that the user gave (``--orientation``) if they are what this image is read by.

    None where the image's header says it itself, or nothing was given.
    """
    codes = os.environ.get(VARIABLE)
    if not codes or not Path(path).is_file():
        return None
    try:
        image: Any = nib.load(path)
    except (ImageFileError, OSError, ValueError):
        return None  # is refused where it is read
    return None if _oriented(image, Path(path)) else check_codes(codes)


def millimetres(image: Any) -> float:
    """Return the millimetres in the unit of a NIfTI image."""
    return UNITS[int(image.header["xyzt_units"]) & 7]


def check_codes(codes: str) -> str:
    """Return axis codes such as ``"LAS"`` in capitals.

    Raises
    ------
    SpaceError
        If they are none.
    """
    Space((1, 1, 1), np.eye(4)).reoriented(codes.upper())
    return codes.upper()


def contradiction(found: Orientation) -> str:
    """Say how sform and qform contradict each other; nothing where they do not."""
    distance = found.disagreement
    if distance is None or not np.isfinite(distance) or distance <= TOLERANCE:
        return ""
    sides = "" if found.same_handedness else ", and one of them swaps left and right"
    return f"sform and qform lie up to {distance:.4g} mm apart{sides}"


def _oriented(image: Any, path: Path) -> bool:
    """Whether anything but a default says where left and right are."""
    if isinstance(image, nib.Nifti1Pair):
        return bool(image.header["sform_code"] or image.header["qform_code"])
    if isinstance(image, nib.AnalyzeImage):
        # SPM keeps the affine in a file of its own
        return any(path.with_name(path.name.split(".", 1)[0] + end).is_file() for end in (".mat", ".MAT"))
    if isinstance(image, nib.MGHImage):
        from nibabel.openers import ImageOpener

        with ImageOpener(str(path)) as handle:  # nibabel fills in a default and marks it as good
            head = handle.read(30)
        return bool(np.frombuffer(head[28:30], ">i2")[0] == 1)
    return True


def _along(image: Any, codes: str) -> NDArray[np.float64]:
    """Return the affine of a grid whose axes run as told, its middle at 0."""
    sizes = np.array([float(size) for size in image.header.get_zooms()[:3]])
    shape = np.array(image.shape[:3])
    letters = ("LR", "PA", "IS")
    affine = np.eye(4)
    for axis, code in enumerate(check_codes(codes)):
        world = next(n for n, pair in enumerate(letters) if code in pair)
        affine[:3, axis] = 0.0
        affine[world, axis] = sizes[axis] * (1.0 if code == letters[world][1] else -1.0)
    affine[:3, 3] = -affine[:3, :3] @ (shape - 1) / 2
    return affine
