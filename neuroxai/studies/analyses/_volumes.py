"""Relevance of a region against its volume, over recognised patients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from neuroxai.report.study_figures import scatter
from neuroxai.statistics import correlation
from neuroxai.studies.analyses._common import counted, number
from neuroxai.studies.analyses._regions import RegionTables
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import Results


def volumes(results: Results, findings: Findings, options: Mapping[str, Any]) -> None:
    """Correlate a region's volume with its relevance over true positives, with a permutation test for each method."""
    arm = next(iter(results.study.arms.values()))
    people = results.participants(arm.cohort)
    column = str(options["volume"])
    if column not in people.columns:
        findings.doubts.append(
            f"participants.tsv has no column {column!r}, so relevance was not held against "
            "volume; name one in options: volume."
        )
        return
    volume = people.dropna(subset=[column]).groupby("participant_id")[column].mean()
    settings = results.study.statistics
    for name in results.study.explain:
        rows = []
        for done in results.chosen():
            tables = RegionTables(results, done, name)
            sums = tables.wide("sum", ("TP",))
            own = [
                r
                for r in sums.columns
                if options["region"] in str(r).lower() and options["without"] not in str(r).lower()
            ]
            if not own:
                findings.doubts.append(
                    f"No region's name holds {options['region']!r}; name another in options: region."
                )
                return
            relevance = sums[own].sum(axis=1).groupby(level=0).mean()
            rows.append(pd.DataFrame({"relevance": relevance, "volume": volume.reindex(relevance.index)}).dropna())
        # runs of one split share subjects: their relevance is averaged, so that each counts once
        table = pd.concat(rows).groupby(level=0).mean()
        findings.figures.append(_correlated(name, table, len(rows), settings))
        if name == next(iter(results.study.explain)) and len(table) > 2:
            x, y = table["volume"].tolist(), table["relevance"].tolist()
            words = column.replace("_", " ")
            findings.pictures.append(
                Picture("volume", f"Relevance ({name}) in the hippocampus against its volume; a point a true positive.",
                        partial(scatter, {"true positives": (x, y)}, words, "sum of relevance", True))
            )  # fmt: skip
    findings.answers.extend(_told(findings))


def _correlated(name: str, table: pd.DataFrame, runs: int, settings: Any) -> Finding:
    quantity = "correlation of hippocampal volume and relevance"
    if len(table) < 3 or table["volume"].nunique() < 2:
        return Finding(
            quantity, name, None, n=len(table), note="fewer than three true positives with different volumes"
        )
    found = correlation(table["volume"], table["relevance"], settings.permutations, settings.seed)
    r = number(found.r)
    low, high = _fisher(r, len(table), settings.level)
    return Finding(
        quantity, name, r, low, high, len(table),
        method=f"Pearson, {settings.permutations} permutations; Fisher interval",
        p=number(found.p), effect=r, effect_name="r", note=f"n are patients, of {counted(runs, 'run')}",
    )  # fmt: skip


def _fisher(r: float | None, n: int, level: float) -> tuple[float | None, float | None]:
    from neuroxai.statistics.intervals import critical_value

    if r is None or n < 4 or abs(r) >= 1:
        return None, None
    half = critical_value(level) / np.sqrt(n - 3)
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def _told(findings: Findings) -> list[str]:
    texts = []
    for row in findings.figures:
        if row.quantity.startswith("correlation of hippocampal") and row.value is not None and row.p is not None:
            way = "falls" if row.value < 0 else "rises"
            sure = "" if row.p < 0.05 else "; chance would do as much"
            texts.append(
                f"{row.group}: relevance in the hippocampus {way} with its volume (r = {row.value:.2f}, "
                f"p = {row.p:.3g}, {row.n} patients){sure}."
            )
    return texts
