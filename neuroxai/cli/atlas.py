"""The ``atlas`` commands: which atlases there are, what is in one, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroxai.cli import _options as opt

app = typer.Typer(no_args_is_help=True, help="List, show and check atlases of named brain regions.")
NameArgument = Annotated[
    str, typer.Argument(help="A name of `neuroxai atlas list`, or a label image.", autocompletion=opt.atlases)
]
SpmOption = Annotated[Path | None, typer.Option(help="SPM's folder. [default: SPM_HOME]", show_default=False)]
FslOption = Annotated[Path | None, typer.Option(help="FSL's folder. [default: FSLDIR]", show_default=False)]


@app.command("list")
def list_atlases(spm: SpmOption = None, fsl: FslOption = None, as_json: opt.Json = False) -> None:
    """Say which named atlases are here, and where.

    Example: `neuroxai atlas list`
    """
    from neuroxai.atlas import NAMES, find
    from neuroxai.atlas.named import NAMED
    from neuroxai.errors import InputError

    rows: list[dict[str, Any]] = []
    for name in NAMES:
        row: dict[str, Any] = {"name": name, "found": True, "image": None, "labels": None, "note": "needs no file"}
        if name != "builtin":
            try:
                image, labels = find(name, _folders(spm, fsl))
                row.update(image=str(image), labels=str(labels), note=str(image))
            except InputError:
                fetch = f"; or `neuroxai atlas show {name} --download`" if NAMED[name].fetcher else ""
                row.update(found=False, note=f"{NAMED[name].source}{fetch}")
        rows.append(row)
    if as_json:
        typer.echo(json.dumps({"atlases": rows}, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['name']:<28}{'found   ' if row['found'] else 'absent  '}{row['note']}")


@app.command()
def show(
    atlas: NameArgument,
    labels: opt.Labels = None,
    spm: SpmOption = None,
    fsl: FslOption = None,
    download: Annotated[bool, typer.Option("--download", help="Let nilearn fetch a missing atlas.")] = False,
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Print the regions: index, name, voxels, volume and centre of mass in mm (MNI152, where the atlas is in it).

    Example: `neuroxai atlas show builtin`
    """
    from neuroxai.atlas import get

    found = get(atlas, labels, _folders(spm, fsl), download)
    rows = []
    for (index, name), voxels, centre in zip(found.names.items(), found.counts(), found.centroids(), strict=True):
        volume = float(voxels) * found.space.voxel_volume
        where = [round(float(c), 1) for c in centre] if voxels else None
        row = {"index": index, "name": name, "voxels": int(voxels), "volume_mm3": round(volume, 3), "centre_mm": where}
        rows.append(row)
    if as_json:
        head = {"atlas": atlas, "origin": found.origin, "space": found.space.to_dict()}
        typer.echo(json.dumps({**head, "regions": rows}, indent=2))
        return
    typer.echo(f"# {len(rows)} regions, {found.space.describe()}; {found.origin}", err=True)
    typer.echo("index\tname\tvoxels\tvolume_mm3\tx\ty\tz")
    for row in rows:
        place = row["centre_mm"] or ["n/a"] * 3
        cells = [row["index"], row["name"], row["voxels"], f"{row['volume_mm3']:g}", *place]  # type: ignore[misc]
        typer.echo("\t".join(map(str, cells)))


@app.command()
def check(
    image: NameArgument,
    labels: opt.Labels = None,
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Look for what would put scores under a wrong name; exit code 1 if something is found.

    Labels without names, names without voxels, duplicate names, a table that counts from 0, left and right swapped by
    coordinate, sides that the names do not say, regions outside the brain's place in MNI152 space.

    Example: `neuroxai atlas check my_atlas.nii.gz --labels my_atlas.tsv`
    """
    from neuroxai.atlas.check import problems, sides

    found, notes = problems(image, labels)
    by_side = sides(found)
    if as_json:
        head = {"atlas": image, "origin": found.origin, "regions": len(found.names), "sides": by_side}
        shown = {**head, "problems": notes}
        typer.echo(json.dumps(shown, indent=2))
    else:
        typer.echo(f"{image}: {len(found.names)} regions, {found.space.describe()}; {found.origin}")
        typer.echo("by their names {left} are left, {right} are right, {none} have no side".format(**by_side))
        for note in notes:
            typer.echo(f"{note['kind']}: {note['text']}")
        typer.echo("no problem found" if not notes else f"{len(notes)} kinds of problem")
    if notes:
        raise typer.Exit(1)


def _folders(spm: Path | None, fsl: Path | None) -> list[Path]:
    return [folder for folder in (spm, fsl) if folder is not None]
