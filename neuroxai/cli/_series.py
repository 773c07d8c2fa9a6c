"""Scans as the scanner left them: prepared on the way; a DICOM series gets DICOM objects after."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neuroxai.errors import InputError, NeuroxaiError, one_of, refused_by_the_system

if TYPE_CHECKING:
    from neuroxai.io.dicom.web import Address
    from neuroxai.space import Volume

AS_IS = "as-is"


def is_series(source: Path) -> bool:
    """Say whether the place given is a DICOM file or a folder of them, and no cohort."""
    from neuroxai.io.dicom import is_series

    return is_series(source)


def from_archive(archive: Address, explain: Callable[..., None], arguments: Mapping[str, Any]) -> None:
    """Explain a series of an archive, which lies on this machine only meanwhile; send the objects back if asked.

    Parameters
    ----------
    archive : Address
        With the study and the series, or so that `series` of the arguments chooses one.
    explain : callable
        The command.
    arguments : mapping
        Its own.

    Raises
    ------
    InputError
        If the archive cannot be asked, has no such series or several, or does not take the objects.
    """
    from neuroxai.explain.dicom import objects_in
    from neuroxai.io.dicom.web import fetch_one, store

    with tempfile.TemporaryDirectory(prefix="neuroxai-") as folder:
        source = fetch_one(archive, arguments["series"], Path(folder) / "series")
        explain(**{**arguments, "source": source, "series": None, "store": False})
    if arguments["store"]:
        count = store(archive, objects_in(arguments["dicom_out"]))
        if not arguments["as_json"]:
            typer.echo(f"sent to {archive.service}: {count} objects")


def prepared_on_the_way(source: Path, arm: str, out: Path, bundle: Path) -> Path:
    """Prepare one NIfTI scan into ``OUT/prepared`` as the bundle's network takes it; return the prepared scan.

    Raises
    ------
    InputError
        If it is no single file, is prepared already, or cannot be prepared; for an unknown arm.
    """
    from neuroxai.components.fit import SIMULATED
    from neuroxai.explain.preparation import preparation
    from neuroxai.explain.weights import read_record
    from neuroxai.preprocess import prepare_one
    from neuroxai.preprocess.mapping import native_of
    from neuroxai.preprocess.options import REGISTRATIONS

    if arm not in REGISTRATIONS:
        raise one_of("--prepare", arm, REGISTRATIONS)
    if not source.is_file():
        what = "is a folder" if source.is_dir() else "no such file"
        raise InputError(f"{source}: {what}; --prepare takes one NIfTI scan, prepare a cohort with `neuroxai prepare`")
    if native_of(source) is not None:
        raise InputError(f"{source}: is prepared already; leave out --prepare")
    if read_record(str(bundle / "models" / "model.pt")).get("simulated") is True:
        typer.echo(f"note: {SIMULATED[0].lower()}{SIMULATED[1:]}; most likely this one does not fit", err=True)
    prepared = prepare_one(source, out / "prepared", preparation(bundle, arm))
    for flag in prepared.flags:
        typer.echo(f"flagged: {flag}", err=True)
    return prepared.path


def report_left_out(source: Path, series: str | None) -> None:
    """Print what of a folder is not taken: files that hold no image, and other series.

    Raises
    ------
    InputError
        If no one series is meant.
    """
    from neuroxai.io.dicom import left_out

    for line in left_out(source, series):
        typer.echo(f"left out: {line}", err=True)


def take_series(
    source: Path, series: str | None, arm: str | None, out: Path, bundle: Path, objects: Path | None = None
) -> Path:
    """Return a series as the scan that the bundle's network takes.

    It is prepared into ``OUT/prepared``, which finds the way back to the series' grid, or taken as it lies into
    ``OUT/series``. What is left out of the folder is printed.

    Raises
    ------
    InputError
        If the series cannot be used, the arm is unknown, or DICOM objects asked for in `objects` cannot
        be written beside this series.
    """
    from neuroxai.explain.bundle import classifier_metadata, modality_of
    from neuroxai.explain.preparation import preparation
    from neuroxai.io import inside, read_series
    from neuroxai.preprocess import prepare_one
    from neuroxai.preprocess.options import REGISTRATIONS

    arm = arm or "linear"
    if arm not in (*REGISTRATIONS, AS_IS):
        raise one_of("arm", arm, (*REGISTRATIONS, AS_IS))
    report_left_out(source, series)
    if objects is not None:
        from neuroxai.explain.dicom import check_dicom

        for remark in check_dicom(source, objects, series):
            typer.echo(f"note: {remark}", err=True)
    if arm == AS_IS:
        volume, _ = read_series(source, series)
        modality = modality_of(classifier_metadata(bundle))
        return _as_it_lies(inside(out, Path("series", f"sub-series_{modality}.nii.gz")), volume, source)
    prepared = prepare_one(source, out / "prepared", preparation(bundle, arm), participant="sub-series", series=series)
    for flag in prepared.flags:
        typer.echo(f"flagged: {flag}", err=True)
    return prepared.path


def _as_it_lies(path: Path, volume: Volume, source: Path) -> Path:
    """Write a series as NIfTI, unless another one stands there already, whose results would be lost."""
    import numpy as np

    from neuroxai.io import read_volume, write_volume

    if path.is_file():
        former = read_volume(path, check_content=False)
        if not former.space.matches(volume.space) or not np.array_equal(former.data, volume.data, equal_nan=True):
            raise InputError(f"{source}: {path} is another series, whose results would be lost; name another --out")
        return path
    return write_volume(path, volume)


def write_objects(
    out: Path,
    source: Path,
    series: str | None,
    folder: Path,
    atlas: str | None,
    labels: Path | None,
    pictures: bool = False,
) -> list[Path]:
    """Write the DICOM objects of the one scan in OUT; `atlas` adds its regions, `pictures` the overlay in colour.

    Where they cannot be written, it is said what stands, and the exit code is 1.
    """
    from neuroxai.derivatives.explain_folder import only_scan
    from neuroxai.derivatives.explained import read_record, write_record
    from neuroxai.derivatives.heatmaps import read_sidecar
    from neuroxai.explain.dicom import percent_of, remove_objects, write_dicom
    from neuroxai.explain.scores import atlas_of
    from neuroxai.io.names import sidecar_of

    try:
        heatmap, files = only_scan(out)
        regions = None if atlas is None else atlas_of(atlas, str(labels) if labels else None)
        record = read_record(out / "explain.json")
        written = write_dicom(heatmap, files.regions, source, folder, series, regions, record.scale, pictures)
        percent = percent_of(read_sidecar(sidecar_of(heatmap)))
        factors = {"score": percent.score, "per_sum": percent.of_sum, "per_voxel_and_ml": percent.density}
        write_record(out / "explain.json", replace(record, percent_of_score=factors))
        return written
    except (NeuroxaiError, OSError) as error:
        remove_objects(folder)  # of an earlier call, which would be taken for this scan's
        typer.echo(
            f"error: the scan is explained, and its results stand in {out}, but no DICOM object was written to "
            f"{folder}: {refused_by_the_system(error) or error}. Run the same command again when that is mended",
            err=True,
        )
        raise typer.Exit(1) from None
