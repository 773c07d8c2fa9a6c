"""Reading explanations back from DICOM objects, ours or others'."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from neuroxai.errors import InputError
from neuroxai.io.dicom.opening import BROKEN
from neuroxai.io.dicom.parametric_map import RELEVANCE
from neuroxai.io.dicom.write import imported_highdicom
from neuroxai.space import Space, Volume

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_parametric_map(path: str | os.PathLike[str]) -> Volume:
    """Read a Parametric Map as a volume, axes as columns, rows, slices.

    Of ours the values are relevance, whichever unit they are stored in; of others' the first real-world value.

    Raises
    ------
    InputError
        If the file is no Parametric Map, or its frames make no even stack.
    """
    image = _opened(path, "Parametric Map Storage")
    meant = image.SharedFunctionalGroupsSequence[0].get("RealWorldValueMappingSequence") or ()
    own = [mapping for mapping in meant if mapping.get("LUTLabel") == RELEVANCE]
    if not own:
        return _volume(image.get_volume(apply_real_world_transform=True), path)
    # not by highdicom's transform, which fails for any slope but 1 of float maps (0.28.2)
    stored = _volume(image.get_volume(apply_real_world_transform=False, apply_modality_transform=False), path)
    slope, intercept = (float(own[0][f"RealWorldValue{name}"].value) for name in ("Slope", "Intercept"))
    return Volume((stored.data * np.float64(slope) + intercept).astype(np.float32), stored.space)


def read_segmentation(path: str | os.PathLike[str]) -> tuple[Volume, dict[int, str]]:
    """Read a Segmentation as a label image and the segments' names.

    Raises
    ------
    InputError
        If the file is no Segmentation, its frames make no even stack, or segments overlap.
    """
    from highdicom.seg import Segmentation

    image = Segmentation.from_dataset(_opened(path, "Segmentation Storage"), copy=False)
    names = {number: str(image.get_segment_description(number).segment_label) for number in image.segment_numbers}
    return _volume(image.get_volume(combine_segments=True), path), names


def _opened(path: str | os.PathLike[str], kind: str) -> Any:
    highdicom = imported_highdicom()
    try:
        image = highdicom.imread(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a DICOM object") from None
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read as a DICOM image ({error}); copy it again") from None
    if image.SOPClassUID.name != kind:
        raise InputError(f"{path}: is {image.SOPClassUID.name}, expected {kind}; choose another file")
    return image


def _volume(found: Any, path: str | os.PathLike[str]) -> Volume:
    if found is None:
        raise InputError(f"{path}: its frames make no even stack; export it again")
    affine = (_TO_RAS @ np.asarray(found.affine))[:, [2, 1, 0, 3]]
    data = np.ascontiguousarray(np.asarray(found.array).transpose(2, 1, 0))
    return Volume(data, Space(data.shape, affine))
