"""What `explain` does with a DICOM series: make a scan of it before, DICOM objects after."""

from __future__ import annotations

from pathlib import Path

import typer

from neuroxai.errors import one_of

AS_IS = "as-is"


def is_series(source: Path) -> bool:
    """Say whether the place given is a DICOM file or a folder of them, and no cohort."""
    from neuroxai.io import is_dicom

    return source.exists() and not any(source.glob("sub-*")) and is_dicom(source)


def take_series(source: Path, series: str | None, arm: str | None, out: Path, bundle: Path) -> Path:
    """Return a series as the scan that the bundle's network takes.

    It is prepared into ``OUT/prepared``, which finds the way back to the series' grid, or taken as it lies into
    ``OUT/series``.

    Raises
    ------
    InputError
        If the series cannot be used, or the arm is unknown.
    """
    from neuroxai.components.model import classifier_metadata, modality_of
    from neuroxai.components.preparation import preparation
    from neuroxai.io import inside, read_series, write_volume
    from neuroxai.preprocess import prepare_one
    from neuroxai.preprocess.quality_flags import ARMS

    arm = arm or "linear"
    if arm not in (*ARMS, AS_IS):
        raise one_of("arm", arm, (*ARMS, AS_IS))
    if arm == AS_IS or source.is_file():
        volume, _ = read_series(source, series)
        modality = modality_of(classifier_metadata(bundle))
        scan = write_volume(inside(out, Path("series", f"sub-series_{modality}.nii.gz")), volume)
        if arm == AS_IS:
            return scan
        # one file with all images: `prepare` takes folders
        source, series = scan, None
    prepared = prepare_one(source, out / "prepared", preparation(bundle, arm), participant="sub-series", series=series)
    for flag in prepared.flags:
        typer.echo(f"flagged: {flag}", err=True)
    return prepared.path


def write_objects(
    out: Path, source: Path, series: str | None, folder: Path, atlas: str | None, labels: Path | None
) -> list[Path]:
    """Write the DICOM objects of the one scan in OUT; `atlas` adds its regions."""
    from neuroxai.components.dicom_objects import one_explained, write_dicom
    from neuroxai.components.facts import atlas_of

    heatmap, network = one_explained(out)
    regions = None if atlas is None else atlas_of(atlas, str(labels) if labels else None)
    return write_dicom(heatmap, network, source, folder, series, regions)
