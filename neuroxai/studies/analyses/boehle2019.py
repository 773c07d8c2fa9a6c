"""Boehle 2019 (Study 1): which regions drive the decision, by method; relevance against hippocampal volume."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from neuroxai.derivatives.trust import counted
from neuroxai.errors import InputError
from neuroxai.pictures.maps import maps
from neuroxai.report.plots.charts import bars, matrix, scatter
from neuroxai.space import Volume
from neuroxai.statistics import correlation, gain, group_gain, most_different, overlaps, top_regions
from neuroxai.statistics.regions import gain_is_known
from neuroxai.studies.analyses.shared import RegionTables, known_options, metric_findings, number, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Study

GROUPS = {"class": "all of the class", "TP": "true positives", "FP": "false positives", "TN": "true negatives",
          "FN": "false negatives"}  # fmt: skip
MEASURES = ("sum", "density", "gain")
SHOWN = 25
OPTIONS = {"region": "hippocamp", "without": "para", "volume": "hippocampus_volume_mm3", "above": 0.9}


def check(study: Study) -> None:
    """Refuse options that are unknown, and a study without explanations of a class.

    Raises
    ------
    InputError
        Naming the key.
    """
    known_options(study, OPTIONS)
    for key, value in study.options.items():
        if type(value) is not type(OPTIONS[key]):
            raise InputError(f"options: {key} is {value!r}, expected {OPTIONS[key]!r} or another of its kind")
    if not study.explain:
        raise InputError("explain: there is none; name the methods to compare")
    for name, spec in study.explain.items():
        if spec.layer is not None:
            raise InputError(f"explain: {name}: begins at a layer; regions are compared for a class")
    if len(study.arms) != 1:
        raise InputError(f"arms: there are {', '.join(study.arms)}, expected one network to explain")


def analyse(results: Results) -> Findings:
    """Averages, regions, overlap between methods, fingerprints, and correlation with volume."""
    findings = Findings(metric_findings(results), doubts=[runs_doubt(results)])
    first = results.chosen()[0]
    lead = next(iter(results.study.explain))
    if len(results.chosen()) > 1:
        findings.doubts.append(f"Maps, regions and fingerprints are of the first run alone ({first.run.title}).")
    for atlas in results.study.atlases:
        _regions(results, first, atlas, findings)
    _maps(results, first, lead, findings)
    _fingerprints(results, first, lead, findings)
    volumes(results, findings, {**OPTIONS, **results.study.options})
    return findings


def _regions(results: Results, done: FinishedRun, atlas: str, findings: Findings) -> None:
    """Table of leading regions of the first method, and overlap of the leading ones between methods."""
    label = "" if atlas == results.study.atlases[0] else f"_{atlas}"
    leading: dict[str, dict[str, np.ndarray]] = {measure: {} for measure in MEASURES}
    for number_of, name in enumerate(results.study.explain):
        tables = RegionTables(results, done, name, atlas)
        sums, density = tables.patients("sum"), tables.patients("density")
        controls = tables.controls("sum")
        regions = list(sums.columns)
        with np.errstate(invalid="ignore"):
            leading["sum"][name] = sums.mean().to_numpy()
            leading["density"][name] = density.mean().to_numpy()
            leading["gain"][name] = group_gain(sums, controls) if len(controls) else np.full(len(regions), np.nan)
        if number_of == 0:
            order = top_regions(leading["sum"][name], min(SHOWN, int(np.isfinite(leading["sum"][name]).sum())))
            table = {"region": [regions[n] for n in order]}
            for group, cells in (
                ("patients", ("TP", "FN")),
                ("controls", ("TN", "FP")),
                *((c, (c,)) for c in ("TP", "FP", "TN", "FN")),
            ):
                own = tables.wide("sum", cells)
                if len(own):
                    table[f"sum_{group}"] = own.mean().to_numpy()[order].tolist()
            table["density_patients"] = leading["density"][name][order].tolist()
            # the table leaves out what the controls' mean, as good as zero, would make of it
            known = gain_is_known(controls)[order] if len(controls) else np.zeros(len(order), dtype=bool)
            table["gain"] = np.where(known, leading["gain"][name][order], np.nan).tolist()
            table["gain_spread"] = np.where(known, _spread(sums, controls)[order], np.nan).tolist()
            findings.tables[f"top_regions{label}"] = pd.DataFrame(table)
            findings.pictures.append(_regions_picture(name, pd.DataFrame(table), label))
    k = results.study.statistics.top
    names = list(results.study.explain)
    rows: list[dict[str, object]] = []
    for measure, values in leading.items():
        stacked = np.stack([values[name] for name in names])
        usable = np.isfinite(stacked).all(axis=0)
        if len(names) < 2 or usable.sum() < k:
            continue
        shared = overlaps(stacked[:, usable], k)
        rows.extend(
            {"measure": measure, "first": names[i], "second": names[j], "overlap_percent": 100 * shared[i, j]}
            for i in range(len(names))
            for j in range(i + 1, len(names))
        )
        if measure == "sum" and not label:
            frame = pd.DataFrame(100 * shared, index=names, columns=names)
            findings.pictures.append(
                Picture("overlap", f"Overlap of the {k} leading regions by sum between methods, %.",
                        partial(matrix, frame, "overlap, %", 0, 100))
            )  # fmt: skip
    if rows:
        findings.tables[f"overlap_of_top_{k}{label}"] = pd.DataFrame(rows)


def _spread(sums: pd.DataFrame, controls: pd.DataFrame) -> np.ndarray:
    """Return the standard deviation over patients of their own gain."""
    if len(sums) < 2 or not len(controls):
        return np.full(sums.shape[1], np.nan)
    return np.asarray(gain(sums, controls).std(axis=0, ddof=1))


def _regions_picture(name: str, table: pd.DataFrame, label: str) -> Picture:
    groups = {
        column.removeprefix("sum_"): table[column].tolist()
        for column in ("sum_patients", "sum_controls")
        if column in table
    }
    return Picture(
        f"top_regions{label}",
        f"Mean sum of relevance by region, {name}: the {len(table)} regions that lead in patients, beside controls.",
        partial(bars, table["region"].tolist(), groups, "mean sum of relevance"),
    )


def _maps(results: Results, done: FinishedRun, name: str, findings: Findings) -> None:
    groups = results.groups(done, name)
    shown: list[tuple[str, Volume]] = []
    for group in groups:
        if group != "all" and (mean := results.mean_map(done, name, group)) is not None:
            shown.append((group, mean))
    limit = max((float(np.percentile(np.abs(v.data), 99.9)) for _, v in shown), default=1.0) or 1.0
    scan = results.mean_scan(done)
    for group, mean in shown:
        what = f"all of class {group.removeprefix('class-')}" if group.startswith("class-") else GROUPS[group]
        findings.pictures.append(
            Picture(f"mean_{name}_{group}",
                    f"Mean heatmap ({name}) of {what} over the mean scan; one colour scale for all groups.",
                    partial(maps, mean, scan, limit, 6))
        )  # fmt: skip


def _fingerprints(results: Results, done: FinishedRun, name: str, findings: Findings) -> None:
    """Find the two patients whose patterns differ most, among those of whom the network is sure."""
    tables = RegionTables(results, done, name)
    density = tables.wide("density", ("TP",)).dropna(axis="columns", how="all")
    above = float(results.study.options.get("above", OPTIONS["above"]))
    scores = tables.scans[tables.scans["cell"] == "TP"]["probability"].to_numpy()
    try:
        pair = most_different(density.to_numpy(), scores, above)
    except InputError as error:
        findings.doubts.append(f"Fingerprints: {error}.")
        return
    two = density.iloc[[pair.first, pair.second]]
    unit = two.div(np.sqrt((two**2).sum(axis=1)), axis=0)
    order = (unit.iloc[0] - unit.iloc[1]).abs().sort_values(ascending=False, kind="stable").index[:12]
    people = [" ".join(filter(None, key)) for key in two.index]
    groups = {who: unit.iloc[n][order].tolist() for n, who in enumerate(people)}
    findings.figures.append(
        Finding("largest cosine distance between patients", " and ".join(people), pair.distance,
                n=int((scores > above).sum()),
                method=f"region densities of {name}, patients with a score above {above:g}", note="n are patients")
    )  # fmt: skip
    findings.pictures.append(
        Picture("fingerprints",
                f"The two patients whose region densities ({name}) differ most, each scaled to length 1.",
                partial(bars, [str(r) for r in order], groups, "density of relevance, scaled to length 1"))
    )  # fmt: skip


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
    findings.answers.extend(_sentences(findings))


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


def _sentences(findings: Findings) -> list[str]:
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
