"""The ``split`` command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroxai.cli import _options as opt
from neuroxai.errors import InputError

if TYPE_CHECKING:
    from neuroxai.cohort import SplitOptions

_CLASSES = opt.group("Classes and strata")
_PARTS = opt.group("Parts")


def split(
    cohort: Annotated[Path, typer.Argument(help="BIDS derivatives folder with participants.tsv.", show_default=False)],
    out: Annotated[
        Path,
        typer.Argument(
            help="A .json file, or a folder for datalist.json or datalist_fold-0.json ...", show_default=False
        ),
    ],
    target: opt.ClassColumn = None,
    classes: Annotated[
        str | None,
        _CLASSES(help="Class names, number 0 first, e.g. CN,AD. [default: the column's two values, controls first]"),
    ] = None,
    fractions: Annotated[str | None, _PARTS(help="Training,validation,test. [default: .6,.2,.2]")] = None,
    folds: Annotated[int | None, _PARTS(help="K folds; each is the test part once.")] = None,
    repeats: Annotated[int | None, _PARTS(help="N random splits with the fractions.")] = None,
    seed: opt.Seed = 0,
    match: Annotated[bool, _CLASSES("--match", help="Equal sex within age bins of each class first.")] = False,
    match_width: Annotated[float, _CLASSES(help="Years of a matching bin.")] = 5.0,
    age_bins: Annotated[str, _CLASSES(help="Age ranges to stratify on: 4 (quantiles) or 5y (years a range).")] = "4",
    test_sessions: Annotated[str, _PARTS(help="Scans of test subjects: all, or the first (baseline) only.")] = "all",
    group: Annotated[
        str | None,
        _PARTS(help="Column whose equal values stay together, e.g. family. [default: twin, where there is one]"),
    ] = None,
    suffix: opt.Suffix = None,
    desc: opt.Desc = None,
    space: Annotated[str | None, opt.WHICH(help="Which scans: space-LABEL in the name.")] = None,
    pattern: Annotated[str | None, opt.WHICH(help="Which scans: a glob inside the cohort's folder.")] = None,
    run: opt.Run = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Exit with 0 though participants were left out.")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Split a cohort by subject into training, validation and test.

    Stratified on class, sex and age range. Writes JSON datalists that MONAI reads. Participants who cannot be used
    are named; the exit code is then 1.

    Example: `neuroxai split cohort cohort/datalist.json --target diagnosis --classes CN,AD --seed 1`

    Example: `neuroxai split cohort folds --folds 5`

    With `--group family`, who shares a value of `family` stays together.
    Cohorts of `neuroxai simulate --from` are split by their twins without being asked.
    """
    from neuroxai.cohort import SplitOptions, label_scans, read_cohort, split_cohort, write_datalist
    from neuroxai.io import check_file

    if folds is not None and fractions is not None:
        raise InputError("--folds and --fractions exclude each other; choose one")
    options = SplitOptions(
        fractions=_fractions(fractions or ".6,.2,.2"),
        folds=folds,
        repeats=repeats,
        seed=seed,
        match=match,
        match_width=match_width,
        group=group,
        test_sessions=test_sessions,  # type: ignore[arg-type]  # the constructor checks it
        **_age_bins(age_bins),
    )
    table = read_cohort(cohort, suffix=suffix, desc=desc, space=space, pattern=pattern, run=run)
    labelled = label_scans(table, target, classes.split(",") if classes is not None else None)
    lists = split_cohort(labelled, options)
    files = _files(out, options)
    for path in files:
        check_file("OUT", path, [cohort, cohort / "participants.tsv"], _is_datalist, "datalist")
    for path, datalist in zip(files, lists, strict=True):
        write_datalist(path, datalist)
    if as_json:
        typer.echo(_as_json(files, lists))
    else:
        _show(files, lists)
    if any(datalist["left_out"] for datalist in lists) and not allow_missing:
        raise typer.Exit(1)


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--fractions {text!r}: expected three numbers, training,validation,test: .6,.2,.2") from None
    return first, second, third


def _age_bins(text: str) -> dict[str, Any]:
    try:
        return {"age_width": float(text[:-1])} if text.endswith("y") else {"age_bins": int(text)}
    except ValueError:
        raise InputError(f"--age-bins {text!r}: expected a number of ranges (4) or years a range (5y)") from None


def _files(out: Path, options: SplitOptions) -> list[Path]:
    folder, stem = (out.parent, out.stem) if out.suffix == ".json" else (out, "datalist")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder; give a path ending in .json or a folder")
    kind, count = ("fold", options.folds) if options.folds else ("split", options.repeats)
    names = [f"{stem}.json"] if count is None else [f"{stem}_{kind}-{number}.json" for number in range(count)]
    # two different splits in one folder would leak from one into the other
    other = re.compile(re.escape(stem) + r"(_(fold|split)-\d+)?\.json")
    there = sorted(path for path in folder.glob("*.json") if other.fullmatch(path.name) and path.name not in names)
    stale = next((path for path in there if _is_datalist(path)), None)
    if stale is not None:
        raise InputError(f"{stale}: belongs to an earlier split with other parts; delete it or choose another folder")
    return [folder / name for name in names]


def _is_datalist(path: Path) -> bool:
    from neuroxai.io import json_of

    return json_of("classes", "target", "seed")(path)


def _show(files: list[Path], lists: list[dict[str, Any]]) -> None:
    from neuroxai.cohort import summary

    first = lists[0]
    named = ", ".join(f"{number} = {name}" for number, name in enumerate(first["classes"]))
    typer.echo(f"target {first['target']}: {named}; seed {first['seed']}")
    for path, datalist in zip(files, lists, strict=True):
        table = summary(datalist).to_string(index=False, na_rep="n/a", float_format=lambda value: f"{value:.1f}")
        typer.echo(f"\n{path}\n{table}")
        if datalist["matched_away"]:
            typer.echo(f"matched away: {len(datalist['matched_away'])} subjects")
    for note in dict.fromkeys(note for datalist in lists for note in datalist["notes"]):
        typer.echo(f"note: {note}", err=True)
    left_out = {tuple(entry.items()): entry for datalist in lists for entry in datalist["left_out"]}
    for entry in left_out.values():
        session = f" {entry['session_id']}" if "session_id" in entry else ""
        typer.echo(f"left out: {entry['participant_id']}{session}: {entry['reason']}", err=True)


def _as_json(files: list[Path], lists: list[dict[str, Any]]) -> str:
    import json

    from neuroxai.cohort import summary

    shown = []
    for path, datalist in zip(files, lists, strict=True):
        table = summary(datalist).astype(object)
        rows = table.where(table.notna(), None).to_dict("records")
        kept = {key: datalist[key] for key in ("target", "classes", "seed", "notes", "left_out", "matched_away")}
        shown.append({"file": str(path), **kept, "summary": rows})
    return json.dumps({"datalists": shown}, indent=2, allow_nan=False)
