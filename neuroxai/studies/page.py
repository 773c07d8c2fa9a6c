"""From finished runs to tables, figures and a page; the same runs, the same bytes (timings aside)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.study_runs import read_result
from neuroxai.errors import InputError
from neuroxai.report.page import study_page
from neuroxai.report.values import Figure, StudyValues, Table
from neuroxai.studies import analyses
from neuroxai.studies.findings import Findings
from neuroxai.studies.mean_maps import mean_map_pictures
from neuroxai.studies.results import Results, open_results
from neuroxai.studies.spec import Study


def write_report(out: str | os.PathLike[str]) -> Path:
    """Analyse a study's finished runs and write statistics.tsv, further tables, figures (PNG, SVG) and report.html.

    Parameters
    ----------
    out : path_like
        The study's folder.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    InputError
        If the folder is no study, or no run is finished.
    """
    folder = Path(out)
    results = open_results(folder)
    if not results.done:
        raise InputError(f"{folder}: no run is finished; run the study first, or see `neuroxai study status {folder}`")
    findings: Findings = analyses.get(results.study.analysis).analyse(results)
    findings.write(folder)
    figures = []
    for picture in [*findings.pictures, *mean_map_pictures(results)]:
        drawn = picture.draw()
        for kind, content in sorted(drawn.items()):
            with io.atomic(folder / "figures" / f"{picture.name}.{kind}") as temporary:
                temporary.write_bytes(content)
        figures.append(Figure(drawn["png"], picture.caption, picture.name))
    page = study_page(_values(results, findings, figures))
    return io.write_text(folder / "report.html", page)


def _values(results: Results, findings: Findings, figures: list[Figure]) -> StudyValues:
    study = results.study
    tables = [Table(name.replace("_", " "), table) for name, table in findings.tables.items()]
    return StudyValues(
        title=study.title,
        paper=study.paper,
        about=study.about,
        answers=findings.answers,
        doubts=findings.doubts,
        statistics=findings.frame(),
        published=published_beside(study, findings),
        figures=figures,
        tables=tables,
        runs=results.runs,
        failures=_failures(results),
        declaration=_declaration(study),
    )


def published_beside(study: Study, findings: Findings) -> list[dict[str, Any]]:
    """Return the paper's figures, each with ours of the same quantity and group, where there is one."""
    ours = {(row.quantity, row.group): row for row in findings.figures}
    rows = []
    for item in study.published:
        found = ours.get((item["quantity"], item.get("group", "")))
        rows.append({**item, "ours": found})
    return rows


def _failures(results: Results) -> list[dict[str, str]]:
    rows = []
    for done in results.done:
        for item in read_result(done.folder).failed:
            rows.append({"run": done.run.title, **item})
    return rows


def _declaration(study: Study) -> list[tuple[str, str]]:
    cohorts = []
    # the study of heatmaps explains by itself
    by_region = study.explain or study.analysis == "heatmaps"
    for name, source in study.cohorts.items():
        what = ", ".join(f"{k} {v}" for k, v in source.simulate.items())
        cohorts.append(f"{name}: {'simulated: ' + what if what else 'folder'}; {' against '.join(source.classes)}")
    return [
        ("Study", study.name),
        ("Bundle", Path(study.bundle).name),  # a page travels: no folder of whoever made it
        ("Cohorts", "; ".join(cohorts)),
        ("Arms", ", ".join(study.arms)),
        ("Splits", f"{study.split.repeats}, by subject: {', '.join(f'{f:g}' for f in study.split.fractions)}"),
        ("Repetitions", str(study.repetitions)),
        ("Settings", ", ".join(f"{k} {v}" for k, v in study.settings.items()) or "the bundle's"),
        ("Search", f"{study.search.draws} draws ({study.search.sampler})" if study.search.draws else "none"),
        ("Explanations", ", ".join(study.explain) or "none"),
        ("Atlases", ", ".join(Path(a).name for a in study.atlases) if by_region else "none"),
    ]
