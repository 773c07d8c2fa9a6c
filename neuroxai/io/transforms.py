"""Transforms in and out, as ITK and ANTs read them: affine matrices and displacement fields.

In memory both are RAS+ millimetres and take a point of the fixed image's world to the moving image's. ITK's files mean
the same points, in LPS: x and y change sign, in matrices, offsets and displacements. A warp's grid is an ordinary NIfTI
affine (RAS+), which ITK turns by itself; its vectors ITK leaves alone, so they must stand in the file as LPS.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.errors import InputError, SpaceError
from neuroxai.io.nifti import image_data, open_image, placed, save_image
from neuroxai.io.orientation import millimetres
from neuroxai.io.tables import write_text
from neuroxai.space import Space

_HEAD = "#Insight Transform File V1.0"
_AFFINE = tuple(
    f"{name}_{kind}_3_3" for name in ("AffineTransform", "MatrixOffsetTransformBase") for kind in ("double", "float")
)
_TO_LPS = np.array([-1.0, -1.0, 1.0])
# NIFTI_INTENT_VECTOR; vectors under NIFTI_INTENT_DISPVECT (1006) would be turned to LPS by recent ITK
_VECTOR = 1007


def write_affine(path: str | os.PathLike[str], matrix: Any) -> Path:
    """Write an affine map as an ITK text transform, to the last bit.

    Parameters
    ----------
    path : path_like
        Ending in ``.txt`` or ``.tfm``, by which ITK knows the format.
    matrix : array_like, shape (4, 4)
        From the fixed image's world to the moving image's, mm, RAS+.

    Raises
    ------
    InputError
        If the name has another ending.
    SpaceError
        If the matrix is not finite and invertible.
    """
    target = Path(path)
    if target.suffix not in (".txt", ".tfm"):
        raise InputError(f"{target.name}: an ITK text transform's name ends in .txt or .tfm")
    values = _checked(matrix, "the affine map")
    linear = _TO_LPS[:, None] * values[:3, :3] * _TO_LPS
    numbers = [*linear.ravel(), *(_TO_LPS * values[:3, 3])]
    # + 0.0: no minus before a zero
    parameters = " ".join(repr(float(number) + 0.0) for number in numbers)
    lines = [_HEAD, "#Transform 0", f"Transform: {_AFFINE[0]}", f"Parameters: {parameters}", "FixedParameters: 0 0 0"]
    return write_text(target, "\n".join(lines) + "\n")


def read_affine(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read an ITK text transform that is affine.

    Returns
    -------
    ndarray, shape (4, 4)
        From the fixed image's world to the moving image's, mm, RAS+; a centre in the file is worked in.

    Raises
    ------
    InputError
        If the file is absent, is no ITK text file, is cut off, or holds another transform or several.
    SpaceError
        If the matrix is not finite and invertible.
    """
    file = Path(path)
    fields = _fields(file)
    kind = fields.get("Transform", "")
    if kind not in _AFFINE:
        raise InputError(
            f"{file}: holds {kind or 'no transform'}, expected {_AFFINE[0]} (12 parameters); "
            "convert it, for example with antsApplyTransforms -o Linear[...] or itk.transformwrite"
        )
    values = _numbers(file, fields, "Parameters", 12)
    centre = _numbers(file, fields, "FixedParameters", 3)
    linear = values[:9].reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = _TO_LPS[:, None] * linear * _TO_LPS
    # y = M (x - centre) + centre + translation
    offset = values[9:] + (centre - linear @ centre if centre.any() else 0.0)
    matrix[:3, 3] = _TO_LPS * offset
    return _checked(matrix + 0.0, str(file))


def write_warp(path: str | os.PathLike[str], warp: Displacement) -> Path:
    """Write a displacement field as ANTs does: NIfTI, x, y, z, 1, 3, float32, vectors in mm LPS.

    Parameters
    ----------
    path : path_like
        Ending in ``.nii`` or ``.nii.gz``.
    warp : Displacement
        On the fixed image's grid; x + u(x) lies in the moving image's world (before an affine map, if one follows).

    Raises
    ------
    InputError
        If the name has another ending, or a displacement is not finite.
    SpaceError
        If the field does not fit its grid, or the grid is sheared: ITK knows no such grids.
    """
    target = Path(path)
    if not target.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{target.name}: a warp's file name ends in .nii or .nii.gz")
    space = warp.space
    if warp.field.shape != (3, *space.shape):
        raise SpaceError(f"a warp on a grid of {space.shape} has shape {(3, *space.shape)}, got {warp.field.shape}")
    directions = space.affine[:3, :3] / np.asarray(space.spacing)
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4:
        raise SpaceError(
            f"{target.name}: the warp's grid ({space.describe()}) is sheared, expected axes at right angles; "
            "sample the warp on another grid"
        )
    field = np.asarray(warp.field, dtype=np.float32)
    if not np.isfinite(field).all():
        raise InputError(f"{target.name}: the warp holds NaN or infinite displacements; register the scan again")
    turned = field * _TO_LPS.astype(np.float32).reshape(3, 1, 1, 1) + np.float32(0)
    image = nib.Nifti1Image(np.moveaxis(turned, 0, -1)[:, :, :, None, :], space.affine)
    image.header.set_intent(_VECTOR)
    return save_image(target, placed(image, space))


def read_warp(path: str | os.PathLike[str]) -> Displacement:
    """Read a displacement field that ANTs or `write_warp` wrote.

    Raises
    ------
    InputError
        If the file is absent or damaged, is no field of vectors, or holds NaN.
    SpaceError
        If it is not three-dimensional with three components.
    """
    image = open_image(path)
    shape = tuple(image.shape)
    if len(shape) != 5 or shape[3:] != (1, 3):
        raise SpaceError(
            f"{path}: has shape {shape}, expected a 3D displacement field (x, y, z, 1, 3) as ANTs writes it"
        )
    intent = int(image.header["intent_code"]) if "intent_code" in image.header else 0
    if intent != _VECTOR:
        raise InputError(
            f"{path}: NIfTI intent {intent}, expected {_VECTOR} (vectors, LPS mm, as ANTs writes them); "
            "other programs' warps mean other axes: convert it to ITK's form"
        )
    if millimetres(image) != 1.0:
        raise InputError(
            f"{path}: the warp's header is not in mm; other programs' warps mean other lengths, convert it"
        )
    space = Space(shape[:3], image.affine)
    field = np.moveaxis(image_data(image, path)[:, :, :, 0, :], -1, 0).astype(np.float32)
    if not np.isfinite(field).all():
        raise InputError(f"{path}: the warp holds NaN or infinite displacements; register the scan again")
    field = np.ascontiguousarray(field * _TO_LPS.astype(np.float32).reshape(3, 1, 1, 1) + np.float32(0))
    return Displacement(field, space)


def _checked(matrix: Any, what: str) -> NDArray[np.float64]:
    try:
        return Space((1, 1, 1), matrix).affine.copy()
    except SpaceError as error:
        raise SpaceError(f"{what}: {error}") from None


def _fields(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the path of an ITK text transform (.txt, .tfm)")
    try:
        text = file.read_text(encoding="ascii")
    except UnicodeDecodeError:
        text = ""
    lines = text.splitlines()
    if not lines or lines[0].strip() != _HEAD:
        raise InputError(
            f"{file}: does not begin with {_HEAD!r}, so it is no ITK text transform; "
            "convert a binary .mat or .h5 with ants.read_transform or itk.transformread"
        )
    if not text.endswith("\n"):
        # half a number is a number too
        raise InputError(f"{file}: the last line has no end, the file is cut off; write the transform again")
    pairs = [line.split(":", 1) for line in lines if ":" in line and not line.startswith("#")]
    fields = {key.strip(): value.strip() for key, value in pairs}
    if len(fields) < len(pairs):
        raise InputError(f"{file}: holds several transforms, expected one affine map; split or compose them")
    return fields


def _numbers(file: Path, fields: dict[str, str], key: str, count: int) -> NDArray[np.float64]:
    try:
        values = np.array([float(word) for word in fields.get(key, "").split()])
    except ValueError as error:
        raise InputError(f"{file}: {key} are not numbers ({error}); write the transform again") from None
    if len(values) != count:
        raise InputError(f"{file}: has {len(values)} {key}, expected {count}; the file is cut off, write it again")
    return values
