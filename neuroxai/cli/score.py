"""The ``score`` command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroxai.cli import _options as opt


def score(
    heatmaps: Annotated[list[Path], typer.Argument(help="NIfTI maps, or folders of `neuroxai explain`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write (TSV).")],
    atlas: opt.Atlas = None,
    labels: opt.Labels = None,
    space: Annotated[str, opt.WHICH(help="Of a folder's heatmaps: those in space `orig` or `network`.")] = "network",
    merge: Annotated[bool, opt.REGIONS("--merge-hemispheres", help="Add left and right of each region up.")] = False,
    device: opt.Device = "auto",
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Sum up heatmaps over the regions of an atlas, which is brought to each map's grid; one row per map and region.

    Any map in the atlas's world space will do; one that its name puts into the participant's own space (`space-T1w`) is
    refused where the atlas lies in MNI152 space. Exit code 1 if some maps could not be scored; they are named.

    Example: `neuroxai score explained --atlas builtin --out regions.tsv`
    """
    from neuroxai.cli._start import import_readers

    import_readers("torch", "neuroxai.explain.scores")
    import json

    import torch
    from rich.console import Console
    from rich.progress import track

    from neuroxai import io
    from neuroxai.atlas.named import is_name
    from neuroxai.cli._bundle import device_of, located
    from neuroxai.cli._place import check_place, doubt_of
    from neuroxai.errors import InputError, NeuroxaiError
    from neuroxai.explain.scores import Scorers, atlas_of

    if labels is not None and atlas is None:
        raise InputError("--labels names the regions of an atlas; give the label image with --atlas")
    files = find_maps(heatmaps, space)
    named_atlas = None if atlas is None else Path(atlas)
    ours = io.table_of("participant_id", "session_id", "file", "name")
    io.check_file("--out", out, [*heatmaps, *files, named_atlas, labels], ours, "table of scores")
    regions = atlas_of(located(atlas), str(labels) if labels else None)
    scorers = Scorers(regions.merged_hemispheres() if merge else regions)
    where, failed = device_of(device), []
    doubts: list[str] = []
    in_mni = atlas is None or is_name(atlas)

    def tables() -> Iterator[Any]:
        for file in track(files, "scores", console=Console(stderr=True), transient=True, disable=as_json):
            try:
                if in_mni:
                    check_place(file)
                volume = io.read_volume(file)
                doubts.extend(filter(None, [doubt_of(file, volume)] if in_mni else []))
                values = torch.from_numpy(volume.data)[None, None].to(where)
                table = named(scorers.on(volume.space, where)(values).to_frame(), file)
            except NeuroxaiError as error:  # one bad map must not end a cohort
                failed.append({"file": str(file), "error": str(error)})
            else:
                yield table

    done = io.write_tsv_parts(out, tables())
    if not done:
        raise InputError(f"none of {len(files)} maps can be scored; the first: {failed[0]['error']}")
    if as_json:
        typer.echo(
            json.dumps({"result": str(out), "maps": len(files), "done": done, "failed": failed, "notes": doubts})
        )
    else:
        for doubt in doubts:
            typer.echo(f"warning: {doubt}", err=True)
        for one in failed:
            typer.echo(f"failed: {one['error']}", err=True)
        typer.echo(f"{done} of {len(files)} maps scored: {out}")
    if failed:
        raise typer.Exit(1)


def find_maps(sources: list[Path], space: str) -> list[Path]:
    """Return the files that are meant: maps themselves, and the heatmaps in one space below folders.

    Raises
    ------
    InputError
        If a source is absent, or a folder has no heatmap in that space.
    """
    from neuroxai.derivatives.explain_folder import heatmaps_below
    from neuroxai.errors import InputError, one_of

    if space not in ("orig", "network"):
        raise one_of("space", space, ("orig", "network"))
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            below = heatmaps_below(source, space)
            if not below:
                raise InputError(f"{source}: holds no heatmap in space {space!r}; run `neuroxai explain` into it first")
            found += below
        elif source.is_file():
            found.append(source)
        else:
            raise InputError(f"{source}: no such map or folder; give NIfTI files, or a folder of `neuroxai explain`")
    return found


def named(frame: Any, file: Path) -> Any:
    """Put a map's participant and session (n/a where its name has none) and its file in front of its scores."""
    from neuroxai.io.names import BidsName

    name = BidsName.parse(file.name)
    frame.insert(0, "participant_id", name.participant or None)
    frame.insert(1, "session_id", name.session or None)
    frame.insert(2, "file", str(file))
    return frame
