"""From an explain output folder to pages and metrics.json; scans stream by, one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.derivatives.explain_folder import ExplainFolder, Item, common_space, read_folder
from neuroxai.derivatives.explained import Failure
from neuroxai.derivatives.heatmaps import read_sidecar
from neuroxai.derivatives.prepared import record_of
from neuroxai.errors import InputError, one_of
from neuroxai.io import atomic, check_folder, json_of, write_json, write_text
from neuroxai.processes import check_jobs
from neuroxai.report.cohort.averages import Averages, cell_of, groups_of
from neuroxai.report.cohort.summary import Gathered, cohort_values, metrics_record
from neuroxai.report.cohort.truth import Truth, mask_beside, planted_dose
from neuroxai.report.inputs import Beside, Context
from neuroxai.report.page import cohort_page, scan_page
from neuroxai.report.plots.glass_brain import glass_brain
from neuroxai.report.scan.pages import Shown, scan_values, show_all
from neuroxai.report.values import ScanLink
from neuroxai.space import Volume


@dataclass(frozen=True)
class Report:
    """What was built: the cohort's page, all figures, and what could not be shown."""

    index: Path
    metrics: Mapping[str, Any]
    failures: Sequence[Failure]


def build_report(
    explain_dir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    truth: bool | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    beside: Beside | None = None,
    only: str | None = None,
    jobs: int = 1,
    slides: bool = False,
) -> Report:
    """Write ``index.html``, one page per scan and ``metrics.json``.

    Parameters
    ----------
    explain_dir : path_like
        Output folder of ``neuroxai explain``.
    out : path_like, optional
        Where to write; ``EXPLAIN_DIR/report`` by default.
    dataset_dir : path_like, optional
        The cohort's folder; by default the one that the explain run noted.
    truth : bool, optional
        Compare with the planted effect: True insists on masks, False leaves it, None does so where masks are.
    on_scan : callable, optional
        Called with scans done and scans in all.
    beside : Beside, optional
        Stored controls, scans for calibration, other trainings.
    only : str, optional
        A participant: its pages are written, and no others; the cohort's page and metrics stay as they are.
    jobs : int
        Processes that draw the scans' pages; -1 for one per core. The bytes do not depend on it.
    slides : bool
        Write the mean heatmaps as glass brains, too, PNG and SVG in ``slides``; they must lie in MNI152 space.

    Returns
    -------
    Report
        Scans that could not be shown are in ``failures``; all others have a page.

    Raises
    ------
    InputError
        If the folder cannot be used: see `neuroxai.derivatives.explained.read_folder`; if no scan is found; if truth is
        asked for and there is no mask.
    SpaceError
        If heatmaps lie on different grids.
    """
    check_jobs(jobs)
    folder = read_folder(explain_dir)
    chosen = _chosen(folder, only)
    space, broken = common_space(folder)
    target = Path(out) if out is not None else folder.path / "report"
    _check_output(target, [explain_dir, dataset_dir])
    sources = {item.title: source_of(item, folder, dataset_dir) for item in folder.items}
    if not any(path is not None and path.is_file() for path in sources.values()):
        looked = next((p for p in sources.values() if p is not None), "no path in the sidecars")
        raise InputError(f"no scan of {folder.path} is found ({looked}); give the cohort's folder with --dataset-dir")
    context = Context.of(folder, _participants(folder, dataset_dir), beside or Beside(), broken)
    gathered = Gathered(Averages(space))
    if only is not None:
        return _pages_alone(chosen, sources, target, context, broken)
    known = Truth(space)
    masks = {} if truth is False else _gather_masks(folder, sources, known, gathered.failures)
    if truth and not known.masks:
        raise InputError("no *_desc-effect_mask.nii.gz lies beside the scan of any patient; leave out --truth")
    whole = [item for item in folder.items if item.title not in broken]
    pages = show_all(whole, sources, context, target, jobs)
    for count, item in enumerate(folder.items):
        cell = cell_of(item, folder.classes, folder.patients)
        shown = Shown([Failure(item.title, broken[item.title])]) if item.title in broken else next(pages)
        page = ""
        try:
            if gathered.add(item, shown, groups_of(cell, item.true not in folder.groups)):
                patient = cell in ("TP", "FN")
                own = known.read_mask(masks[item.title]) if patient and item.title in masks else None
                if known.masks and cell and (own is not None or not patient) and shown.heatmap is not None:
                    known.add_scan(item.title, shown.heatmap.data, own, "patients" if patient else "controls")
                page = item.page
        except InputError as error:
            gathered.failures.append(Failure(item.title, str(error)))
        probability = item.probabilities[folder.patients]
        gathered.links[item.title] = ScanLink(
            item.title, page, item.true, item.predicted, probability, cell, shown.outside, item.fit, shown.thumbnail
        )
        if on_scan is not None:
            on_scan(count + 1, len(folder.items))
    patients = [item for item in folder.items if gathered.links[item.title].cell in ("TP", "FN")]
    table = _participants(folder, dataset_dir)
    dose = planted_dose(table, patients) if known.masks and table is not None else []
    found = known.figures(gathered.averages, dose) if known.masks else {}
    prepared = [None if source is None else record_of(source) for source in sources.values()]
    values = cohort_values(folder, gathered, found, context.held_out, context.backdrop.atlas is not None, prepared)
    record = metrics_record(values, gathered.averages)
    if slides:
        _write_slides(target / "slides", gathered.averages, values.limit)
    write_json(target / "metrics.json", record)
    write_text(target / "index.html", cohort_page(values))
    _remove_others(target, {link.page for link in gathered.links.values()})
    return Report(target / "index.html", record, gathered.failures)


def _write_slides(folder: Path, averages: Averages, limit: float) -> None:
    """Write the mean heatmaps of patients and controls as glass brains."""
    for group in ("patients", "controls", "all"):
        mean = averages.heatmaps.mean(group)
        if mean is None or not limit > 0 or (group == "all" and averages.heatmaps.count("patients")):
            continue
        count = averages.heatmaps.count(group)
        drawing = glass_brain(Volume(mean.astype(np.float32), averages.space), limit, f"{group}, n = {count}")
        for ending, data in drawing.items():
            with atomic(folder / f"mean-{group}.{ending}") as temporary:
                temporary.write_bytes(data)


def _check_output(target: Path, inputs: Sequence[str | os.PathLike[str] | None]) -> None:
    check_folder(
        "--out",
        target,
        inputs,
        {"index.html": _is_page, "metrics.json": json_of("scans", "participants", "known_truth")},
    )


def _is_page(path: Path) -> bool:
    return '<p class="notice" role="note">' in path.read_text(encoding="utf-8", errors="replace")


def _remove_others(target: Path, pages: set[str]) -> None:
    """Remove the pages of scans that an earlier report showed and this one does not."""
    for path in target.glob("sub-*.html"):
        if path.name not in pages and _is_page(path):
            path.unlink()


def source_of(item: Item, folder: ExplainFolder, dataset_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return where the scan lies that a heatmap explains, as its sidecar says; None where it says nothing."""
    try:
        sidecar = read_sidecar(item.sidecar)
    except InputError:
        return None
    return sidecar.scan(dataset_dir or sidecar.source_folder or folder.record.dataset_dir)


def _chosen(folder: ExplainFolder, only: str | None) -> list[Item]:
    if only is None:
        return folder.items
    name = only if only.startswith("sub-") else f"sub-{only}"
    found = [item for item in folder.items if item.participant_id in (only, name)]
    if not found:
        raise one_of("participant", only, sorted({item.participant_id for item in folder.items}))
    return found


def _pages_alone(
    items: Sequence[Item],
    sources: Mapping[str, Path | None],
    target: Path,
    context: Context,
    broken: Mapping[str, str],
) -> Report:
    """Write the pages of one participant."""
    page, failures = target / items[0].page, list[Failure]()
    for item in items:
        if item.title in broken:
            raise InputError(broken[item.title])
        values, *_ = scan_values(item, sources[item.title], failures, context)
        write_text(target / item.page, scan_page(values))
    rows = [{"scan": item.title, "page": item.page, "probabilities": dict(item.probabilities)} for item in items]
    return Report(page, {"scans": rows}, failures)


def _participants(folder: ExplainFolder, dataset_dir: str | os.PathLike[str] | None) -> Path | None:
    noted = dataset_dir or folder.record.dataset_dir
    return Path(noted) / "participants.tsv" if noted else None


def _gather_masks(
    folder: ExplainFolder, sources: Mapping[str, Path | None], known: Truth, failures: list[Failure]
) -> dict[str, Path]:
    """Read the patients' masks once to settle the effect's region; return where they lie."""
    masks = {}
    for item in folder.items:
        source = sources[item.title]
        mask = mask_beside(source) if source is not None else None
        if mask is None or cell_of(item, folder.classes, folder.patients) not in ("TP", "FN"):
            continue
        try:
            known.add_mask(mask)
            masks[item.title] = mask
        except InputError as error:
            failures.append(Failure(item.title, f"effect mask: {error}"))
    known.settle()
    return masks
