"""Mean heatmaps of a study's runs and methods, the same slices below each other, for its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neuroxai.bands import limit_of
from neuroxai.pictures.anatomy import beneath_means
from neuroxai.pictures.maps import dark_background, over_anatomy, wrapped
from neuroxai.space import Volume
from neuroxai.studies.findings import Picture
from neuroxai.studies.results import FinishedRun, Results

_MOST_ROWS = 8
_BOTH_PLANES = 3  # rows up to which coronal slices are drawn, too

Row = tuple[FinishedRun, str]
"""A run and an explanation's name."""


def mean_map_pictures(results: Results) -> Iterator[Picture]:
    """Yield a picture for each explanation with a row for each run, or, of a single run, one with all explanations."""
    runs, methods = results.chosen(), list(results.study.explain)
    if len(runs) == 1:
        yield from _picture(results, "mean_maps", [(runs[0], name) for name in methods], "by explanation")
        return
    for name in methods:
        yield from _picture(results, f"mean_maps_{name}", [(done, name) for done in runs], f"{name}, by run")


def _picture(results: Results, name: str, rows: Sequence[Row], words: str) -> Iterator[Picture]:
    found = [(row, group, mean) for row in rows for group, mean in [_mean(results, *row)] if mean is not None]
    scan = results.mean_scan(found[0][0][0]) if found else None
    if scan is None:
        return
    shown, groups = found[:_MOST_ROWS], dict.fromkeys(group for _, group, _ in found[:_MOST_ROWS])
    anatomy, where = beneath_means(dark_background(scan), bool(results.study.atlases))
    some = f"the first {len(shown)} of {len(found)}, " if len(shown) < len(found) else ""
    each = "" if len(results.chosen()) == 1 else " (arm, split and repetition)"
    caption = (
        f"Mean heatmaps of the test scans ({some}{', '.join(groups)}) {words}{each}, over {where}. Each row has a "
        "scale of its own, as methods and networks have units of their own; the subject's left is on the left."
    )
    single = len({done.run.identifier for (done, _), _, _ in shown}) == 1
    maps = {(explanation if single else _run_name(done)): mean for (done, explanation), _, mean in shown}
    planes = ("axial", "coronal") if len(maps) <= _BOTH_PLANES else ("axial",)
    limits = {title: (mean, limit_of(mean.data)) for title, mean in maps.items()}
    yield Picture(name, caption, lambda: wrapped(over_anatomy(limits, anatomy, planes)))


def _run_name(done: FinishedRun) -> str:
    return f"{done.run.arm}\nsplit {done.run.split}.{done.run.repetition}"


def _mean(results: Results, done: FinishedRun, explanation: str) -> tuple[str, Volume | None]:
    """Return the mean of the class explained, else of all scans, with what it is of."""
    study = results.study
    target = study.explain[explanation].target or study.cohorts[study.arms[done.run.arm].cohort].classes[-1]
    for group, words in ((f"class-{target}", f"true label {target}"), ("all", "all scans")):
        if (mean := results.mean_map(done, explanation, group)) is not None:
            return words, mean
    return "", None
