"""What `predict` and `explain` share: find the scans, open a trained bundle, run its evaluator with progress."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from neuroxai.errors import InputError, one_of
from neuroxai.io import named_path
from neuroxai.io.names import prefixed


@dataclass
class Scans:
    """The scans asked for, the folder they belong to, and of those that were run how they fit the network."""

    items: list[dict[str, Any]]
    folder: Path
    failures: list[dict[str, str]]
    single: bool = False
    datalist: str | None = None
    part: str | None = None
    notes: Sequence[str] = ()
    unlike: list[dict[str, str]] = field(default_factory=list)
    fit_known: bool = True


def participants_asked(labels: Sequence[str] | None, known: Iterable[str]) -> set[str]:
    """Return whom ``--participant-label`` names, all that are known where it names none.

    Parameters
    ----------
    labels : sequence of str, optional
        As given: with or without ``sub-``, several in one parted by commas or blanks.
    known : iterable of str
        Participants with a scan.

    Raises
    ------
    InputError
        If one is not known.
    """
    there = set(known)
    asked = {prefixed("sub", label) for text in labels or () for label in text.replace(",", " ").split()}
    for label in sorted(asked - there):
        raise one_of("participant (--participant-label)", label, there)
    return asked or there


def find_scans(
    source: Path,
    datalist: Path | None,
    part: str | None,
    pattern: dict[str, str | None],
    bundle: Path,
    participants: Sequence[str] | None = None,
) -> Scans:
    """Gather scans from one NIfTI file, a part of a datalist, or a whole cohort folder, of all participants or some.

    Raises
    ------
    InputError
        If there is nothing to be found, or a datalist's classes are not those of the bundle's network.
    """
    from neuroxai.cohort import check_distinct
    from neuroxai.cohort import find_scans as find

    if source.is_file():
        from neuroxai.explain.predict import single_item

        if datalist or part or participants:
            raise InputError(
                f"{source} is one scan; --participant-label, --datalist and --part go with a cohort's folder"
            )
        return Scans([single_item(source)], named_path(source).parent, [], single=True)
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder; give a NIfTI scan or a cohort's folder")
    if datalist or part:
        from neuroxai.components import open_part, read_record

        classes = read_record(str(bundle / "models" / "model.pt")).get("classes")
        listed, chosen = str((datalist or source / "datalist.json").resolve()), part or "test"
        items = open_part(listed, chosen, str(source.resolve()), classes)
        asked = participants_asked(participants, (str(item["participant_id"]) for item in items))
        items = [item for item in items if item["participant_id"] in asked]
        check_distinct(items)
        return Scans(items, source.resolve(), [], datalist=listed, part=chosen)
    found, left_out = find(source, **pattern)
    asked = participants_asked(
        participants, [*(one.participant_id for one in found), *(one.participant_id for one in left_out)]
    )
    found = [one for one in found if one.participant_id in asked]
    left_out = [one for one in left_out if one.participant_id in asked]
    items = [
        {
            "image": str(source.resolve() / scan.image),
            "participant_id": scan.participant_id,
            "session_id": scan.session_id or "",
        }
        for scan in found
    ]
    failures = [
        {"participant_id": one.participant_id, "session_id": one.session_id or "", "error": one.reason}
        for one in left_out
    ]
    check_distinct(items)
    notes = _add_labels(items, source / "participants.tsv", classes_of(bundle))
    return Scans(items, source.resolve(), failures, notes=notes)


def _add_labels(items: list[dict[str, Any]], table: Path, classes: Sequence[str]) -> list[str]:
    """Give the items the labels that participants.tsv knows of the network's classes; return what is to be said."""
    from neuroxai.cohort import UNKNOWN, known_labels

    if not table.is_file() or not items:
        return []
    labels, column = known_labels(
        table, [(item["participant_id"], item["session_id"] or None) for item in items], classes
    )
    if not column:
        return []
    for item, label in zip(items, labels, strict=True):
        item["label"] = label
    known = sum(label != UNKNOWN for label in labels)
    return [f"the true class of {known} of {len(items)} scans is known, from {column!r} in {table.name}"]


def classes_of(bundle: Path) -> list[str]:
    """Return the classes that a bundle's weights were trained on; none if there is no record."""
    from neuroxai.components import read_record

    return [str(name) for name in read_record(str(bundle / "models" / "model.pt")).get("classes") or []]


def check_results(out: Path, inputs: Sequence[Path | None], explaining: bool = True) -> None:
    """Refuse a folder for results that is an input, or in which other results would be lost.

    Raises
    ------
    InputError
        Naming it.
    """
    from neuroxai.derivatives.dataset import DESCRIPTION, is_explained
    from neuroxai.io import check_folder, json_of, table_of

    predictions = table_of("participant_id", "predicted", "probability_*")
    ours = {"predictions.tsv": predictions, DESCRIPTION: is_explained}
    if explaining:
        ours |= {
            "regions.tsv": table_of("participant_id", "index", "name"),
            "explain.json": json_of("method", "classes"),
        }
    check_folder("--out", out, inputs, ours)
    if not explaining and (out / "explain.json").exists():
        raise InputError(f"--out {out}: holds explanations, whose predictions.tsv would be lost; name another folder")


def run_evaluator(evaluator: Any, total: int, quiet: bool, scans: Scans | None = None) -> list[dict[str, str]]:
    """Run an evaluator with a progress bar on standard error; return the scans that failed, note in `scans` the fit."""
    from ignite.engine import Events

    from neuroxai.cli._progress import progress_bar
    from neuroxai.derivatives.predictions import FITS
    from neuroxai.explain.predict import fit_columns

    # failed scans are listed at the end
    logging.getLogger("neuroxai").addHandler(logging.NullHandler())
    evaluator.logger.setLevel(logging.CRITICAL)
    done = 0
    with progress_bar("scans", quiet, transient=True) as progress:

        def report(engine: Any) -> None:
            nonlocal done
            batch = engine.state.batch
            done += len(batch["participant_id"])
            for n, who in enumerate(batch["participant_id"]):
                if scans is None:
                    break
                fit = fit_columns(batch, n)
                scans.fit_known = scans.fit_known and fit["fit"] is not None
                if fit["fit"] not in (None, FITS):
                    found = {"participant_id": str(who), "session_id": str(batch["session_id"][n])}
                    scans.unlike.append({**found, "fit": fit["fit"], "unlike": fit["unlike"] or ""})
            progress(done, total)

        progress(done, total)
        with evaluator.add_event_handler(Events.ITERATION_COMPLETED, report):
            evaluator.run()
    return [failure.__dict__ for failure in evaluator.data_loader.failures]


def finish(result: Path, scans: Scans, failed: Sequence[dict[str, str]], as_json: bool) -> None:
    """Print what came out and where it is; leave with exit code 1 if some scans of a cohort failed.

    Raises
    ------
    InputError
        If the one scan given could not be used.
    """
    if scans.single and failed:
        raise InputError(failed[0]["error"])
    notes = [*scans.notes, *_seen(result if result.is_file() else result / "predictions.tsv", scans.items)]
    asked = len(scans.items) + len(scans.failures)
    failed = [*scans.failures, *failed]
    if not scans.fit_known:
        from neuroxai.components.fit import NOT_KNOWN

        typer.echo(f"warning: {NOT_KNOWN}", err=True)
    done = asked - len(failed)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "result": str(result),
                    "scans": asked,
                    "done": done,
                    "failed": list(failed),
                    "unlike": scans.unlike,
                    "notes": notes,
                }
            )
        )
    else:
        for note in notes:
            typer.echo(note, err=True)
        for failure in failed:
            typer.echo(f"failed: {failure['participant_id']} {failure['session_id']}: {failure['error']}", err=True)
        for one in scans.unlike:
            said = "fits nearly" if one["fit"] == "nearly" else "does not fit, accepted"
            typer.echo(f"{said}: {one['participant_id']} {one['session_id']}: {one['unlike']}", err=True)
        typer.echo(f"{done} of {asked} scans done: {result}")
    if failed:
        raise typer.Exit(1)


def _seen(table: Path, items: Sequence[dict[str, Any]]) -> list[str]:
    """Say how many of the scans the network had seen: how well it does on those says nothing of new ones."""
    from neuroxai.derivatives.predictions import read_rows

    if not table.is_file():
        return []
    asked = {item["participant_id"] for item in items}
    parts = [row.seen for row in read_rows(table) if row.participant_id in asked]
    said = [f"{number} {part}" for part in ("training", "validation") if (number := parts.count(part))]
    return [f"{' and '.join(said)} scans of the network: they do not show how it does on new ones"] if said else []


def located(atlas: str | None) -> str:
    """Return an atlas's name as it is, and its path made absolute; the built-in parcellation where none is given.

    Raises
    ------
    InputError
        If it is a name of which there is no copy here.
    """
    from neuroxai.atlas.named import find, is_name

    if atlas is None or atlas == "builtin":
        return "builtin"
    if is_name(atlas):
        find(atlas)
        return atlas
    return str(Path(atlas).resolve())


def device_of(name: str) -> Any:
    """Return the torch device, or say what there is."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}; expected auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not known to work here; expected auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {name!r} asked for, but torch sees no GPU; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r} asked for, but torch sees {torch.cuda.device_count()} GPUs, counted from 0")
    if name == "cuda":
        from neuroxai.components import local_device

        return local_device("cuda")  # that of this process, where torchrun started several
    return device
