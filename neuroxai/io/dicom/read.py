"""A series as a volume."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroxai.errors import InputError
from neuroxai.io.dicom.acquisition import acquisition_of
from neuroxai.io.dicom.frames import Frame, frames_of
from neuroxai.io.dicom.opening import Where, image_header, understood
from neuroxai.io.dicom.pixels import stored_pixels
from neuroxai.io.dicom.series import Series, chosen, found
from neuroxai.io.dicom.stack import stacked
from neuroxai.io.header import MOST_BYTES
from neuroxai.space import Space, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def planes(
    where: Where, series: str | int | None, see: Callable[[Dataset, Path], None]
) -> tuple[Series, list[Frame], Space, list[Path]]:
    """Return one series, its planes in the order of the slices, their grid, and the files that hold no image.

    Parameters
    ----------
    where, series
        As for `read_series`.
    see : callable
        Given each header and its file.

    Raises
    ------
    InputError, SpaceError
        As `read_series`.
    """
    candidates, skipped = found(where)
    one = chosen(candidates, series, where)
    frames: list[Frame] = []
    for file in one.files:
        header = image_header(file)
        if header is None:
            raise InputError(f"{file}: is no DICOM image any more; something else writes to the folder")
        with understood(file):
            see(header, file)
            frames.extend(frames_of(header, file))
    ordered, space = stacked(frames, one.name)
    needed = int(np.prod(space.shape, dtype=np.float64)) * 4
    if needed > MOST_BYTES:
        raise InputError(f"{one.name}: {space.describe()} take {needed:,} bytes, expected at most {MOST_BYTES:,}")
    return one, ordered, space, skipped


def read_series(folder: Where, series: str | int | None = None) -> tuple[Volume, dict[str, Any]]:
    """Read one MR series, classic or enhanced, plain or compressed.

    Parameters
    ----------
    folder : path_like or sequence of path_like
        A folder, searched through all folders below, or files.
    series : str or int, optional
        Which of several series: its UID, its number, or a part of one description alone.

    Returns
    -------
    volume : Volume
        float32, scaled by slope and intercept, axes as the scanner stored them (columns, rows, slices along the
        planes' normal).
    acquisition : dict
        Of the measurement, for provenance: UID of the series, scanner, field strength and times under BIDS's names,
        ``files`` read and ``skipped`` (others in the folder). Nothing of the person.

    Raises
    ------
    InputError
        If no series or several are there, the choice fits none or several, a file is damaged, slices are missing or
        double, or the images are no anatomical MR scan.
    SpaceError
        If the planes do not make one even stack.
    """
    acquisition: dict[str, Any] = {}

    def see(header: Dataset, _: Path) -> None:
        acquisition.update({} if acquisition else acquisition_of(header))

    one, ordered, space, skipped = planes(folder, series, see)
    name = one.name
    data = np.empty(space.shape, np.float32)
    places = sorted(range(len(ordered)), key=lambda k: ordered[k].file)
    for file, slices in groupby(places, key=lambda k: ordered[k].file):
        pixels = stored_pixels(file)
        for k in slices:
            slope, intercept = ordered[k].scaling
            # in float64: 16-bit numbers times a slope of many digits
            data[:, :, k] = pixels[ordered[k].index].T * slope + intercept
    if not np.isfinite(data).all() or data.min() == data.max():
        raise InputError(f"{name}: voxels are all {data.flat[0]:g} or not finite; the scan is empty, export it again")
    return Volume(data, space), {**acquisition, "files": len(one.files), "skipped": len(skipped)}
