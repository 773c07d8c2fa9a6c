"""Planes to a grid: sorted along their normal, checked to be one even stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.io.dicom.frames import Frame
from neuroxai.space import Space

# fewer slices are a localiser or an excerpt, not a brain
_FEWEST = 8
_SAME_PLACE = 0.01  # mm
_SAME_DIRECTION = 1e-3
# part of the distance by which slices may stand out of line or step
_UNEVEN = 0.02
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def stacked(frames: Sequence[Frame], name: str) -> tuple[list[Frame], Space]:
    """Sort planes along their normal and return them with their grid.

    The voxel axes are columns, rows, slices: axis 0 runs along a row of pixels.

    Parameters
    ----------
    frames : sequence of Frame
        In any order.
    name : str
        What they are, for messages.

    Raises
    ------
    InputError
        If planes differ in size, share a place, are too few, or one is missing.
    SpaceError
        If planes differ in direction or spacing, or do not stand evenly behind each other.
    """
    _check_references(frames, name)
    size: tuple[int, ...] = _one(frames, "size", name, "rows x columns")
    directions = np.array(_one(frames, "orientation", name, "orientation (a localiser?)")).reshape(2, 3)
    spacing = _one(frames, "spacing", name, "pixel spacing, mm")
    along_row, along_column = _at_right_angles(directions, name)
    normal = np.cross(along_row, along_column)

    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = [frames[i] for i in order], positions[order]
    steps = np.diff(positions @ normal)
    _check_places(ordered, steps, name)
    if len(frames) < _FEWEST:
        raise InputError(
            f"{name}: {len(frames)} slices, expected at least {_FEWEST}; a localiser, an excerpt, or one file of many? "
            "Give the folder of the whole series, or choose another"
        )
    _check_steps(ordered, positions, steps, normal, name)
    _check_ends(ordered, name)

    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    lean = np.linalg.norm(step - (step @ normal) * normal) / (step @ normal)
    if lean > np.tan(np.radians(0.5)):
        raise SpaceError(
            f"{name}: slices are shifted sideways by {lean:.3f} of their distance, expected a stack at right angles; "
            "reconstruct the series without tilt"
        )
    line = positions[0] + np.arange(len(frames))[:, None] * step
    off = np.linalg.norm(positions - line, axis=1).max()
    if off > max(_SAME_PLACE, 5 * _UNEVEN * np.linalg.norm(step)):
        raise SpaceError(
            f"{name}: slices lie up to {off:.2f} mm out of line, expected one straight stack; export it again"
        )

    affine = np.eye(4)
    # PixelSpacing names the distance of rows first
    affine[:3, :3] = _TO_RAS @ np.column_stack([along_row * spacing[1], along_column * spacing[0], step])
    affine[:3, 3] = _TO_RAS @ positions[0]
    return ordered, Space((size[1], size[0], len(frames)), affine + 0.0)


def _one(frames: Sequence[Frame], attribute: str, name: str, what: str) -> Any:
    first = getattr(frames[0], attribute)
    for frame in frames:
        value = getattr(frame, attribute)
        if np.abs(np.subtract(value, first)).max() > (0 if attribute == "size" else _SAME_DIRECTION):
            raise SpaceError(
                f"{name}: images differ in {what}: {_show(first)} ({frames[0].file.name}) and {_show(value)} "
                f"({frame.file.name}), expected one; take the others out of the series"
            )
    return first


def _at_right_angles(directions: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(directions[0] @ directions[1]) > 0.01:
        raise SpaceError(
            f"{name}: ImageOrientationPatient {_show(directions.ravel())}, expected two unit vectors at right angles; "
            "export the series again"
        )
    row = directions[0] / lengths[0]
    column = directions[1] - (directions[1] @ row) * row
    return np.stack([row, column / np.linalg.norm(column)])


def _check_places(frames: list[Frame], steps: NDArray[np.float64], name: str) -> None:
    twice = np.flatnonzero(steps < _SAME_PLACE)
    if not len(twice):
        return
    a, b = frames[twice[0]], frames[twice[0] + 1]
    if a.uid == b.uid and a.file != b.file:
        reason = "they are the same image; delete the copies"
    else:
        pairs = {key: (a.traits.get(key, "none"), b.traits.get(key, "none")) for key in {**a.traits, **b.traits}}
        differing = [f"{key} {one} and {two}" for key, (one, two) in sorted(pairs.items()) if one != two]
        reason = f"they differ in {', '.join(differing) or 'nothing that the header tells'}; " + (
            "several echoes, times or kinds of image in one series: export one of them alone"
        )
    raise InputError(
        f"{name}: {len(twice) + 1} of {len(frames)} images lie at the place of another, expected one a place; "
        f"{_which(a)} and {_which(b)} at {_show(a.position)} mm: {reason}"
    )


def _check_steps(
    frames: list[Frame],
    positions: NDArray[np.float64],
    steps: NDArray[np.float64],
    normal: NDArray[np.float64],
    name: str,
) -> None:
    step = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - step) > max(_SAME_PLACE, _UNEVEN * step))
    ratio = steps / step
    if len(odd) and (ratio[odd] > 1.5).all() and np.abs(ratio - np.rint(ratio)).max() < 0.1:
        missing = [_show(positions[i] + k * step * normal) for i in odd for k in range(1, int(np.rint(ratio[i])))]
        raise InputError(
            f"{name}: {len(missing)} slices are missing, at {', '.join(missing[:5])} mm"
            f"{' and more' if len(missing) > 5 else ''} (patient's coordinates, LPS); copy the whole series"
        )
    if len(odd):
        raise SpaceError(
            f"{name}: slices are {steps.min():.3f} to {steps.max():.3f} mm apart, expected even steps; "
            "is a slice missing, or are there several stacks? Export the series again"
        )
    numbers = [frame.number for frame in frames]
    gaps = {frame.gap for frame in frames}
    if len(gaps) == 1 and None not in gaps and None not in numbers:
        # SpacingBetweenSlices alone is not to be trusted: some scanners put the gap between the slices' edges there
        times = int(np.rint(step / max(abs(float(*gaps)), 1e-6)))  # type: ignore[arg-type]
        if times > 1 and set(np.abs(np.diff(np.array(numbers, dtype=float)))) == {float(times)}:
            raise InputError(
                f"{name}: slices are {step:.3f} mm apart and their numbers go in steps of {times}, but "
                f"SpacingBetweenSlices is {gaps.pop()} mm; the slices between are missing, copy the whole series"
            )


def _check_references(frames: Sequence[Frame], name: str) -> None:
    references = {frame.reference: frame for frame in frames if frame.reference}
    # some anonymisers draw a new one for each file, which says nothing then
    if 1 < len(references) < len({frame.file for frame in frames}):
        files = " and ".join(sorted(frame.file.name for frame in references.values())[:2])
        raise SpaceError(
            f"{name}: images lie in {len(references)} frames of reference (FrameOfReferenceUID of {files}), expected "
            "one: the patient may have moved between, so places cannot be compared; take the others out of the series"
        )


def _check_ends(frames: list[Frame], name: str) -> None:
    """Refuse a stack whose slices are even, but which is not all that was scanned by its own numbers."""
    numbers = [frame.number for frame in frames if frame.number is not None]
    unbroken = len(numbers) == len(frames) > 1 and set(np.abs(np.diff(numbers))) == {1}
    announced = {frame.announced for frame in frames}
    total = announced.pop() if len(announced) == 1 else None
    before = min(numbers) - 1 if unbroken else 0
    missing = max(before, (total or 0) - len(frames) if unbroken else 0)
    if missing > 0:
        raise InputError(
            f"{name}: {len(frames)} slices, numbered {min(numbers)} to {max(numbers)}"
            f"{f', of {total} by ImagesInAcquisition' if total else ''}: {missing} are missing at an end; "
            "copy the whole series (if it is whole, convert it to NIfTI, for example with dcm2niix, and give that)"
        )


def _which(frame: Frame) -> str:
    return frame.file.name if frame.number is not None or frame.index == 0 else f"{frame.file.name}[{frame.index + 1}]"


def _show(values: Any) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
