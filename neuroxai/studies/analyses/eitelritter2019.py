"""Eitel & Ritter 2019 (Study 3): whether heatmaps agree between trainings of one network on one split."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai.errors import InputError, one_of
from neuroxai.report.plots.charts import bars, matrix
from neuroxai.statistics import group_gain, l2_distances, overlaps
from neuroxai.statistics.intervals import critical_value
from neuroxai.studies.analyses.shared import RegionTables, known_options, metric_findings, number, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Study

SCALES = ("maximum", "sum", "none")
CELLS = ("TP", "TN")
MEASURES = ("sum", "density", "gain")
METHOD = "mean over pairs of runs; interval by jackknife over runs"


def check(study: Study) -> None:
    """Refuse a study of one training, or of several splits.

    Raises
    ------
    InputError
        Naming the key.
    """
    known_options(study, ("scale",))
    if study.options.get("scale", "maximum") not in SCALES:
        raise one_of("scale in options", study.options["scale"], SCALES)
    if study.repetitions < 2:
        raise InputError(f"repetitions is {study.repetitions}, expected 2 or more trainings to compare")
    if study.split.repeats != 1 or len(study.arms) != 1:
        raise InputError(
            f"split: repeats is {study.split.repeats} and arms are {', '.join(study.arms)}, expected one of each: "
            "trainings are compared that differ in nothing but their seed"
        )
    if not study.explain:
        raise InputError("explain: there is none; name the methods to compare")


def analyse(results: Results) -> Findings:
    """Distances of average heatmaps and overlap of leading regions between runs, by method."""
    findings = Findings(metric_findings(results), doubts=[runs_doubt(results)])
    runs = results.chosen()
    if len(runs) < 2:
        findings.doubts.append("One run is finished: nothing can be compared yet.")
        return findings
    level, k = results.study.statistics.level, results.study.statistics.top
    if len(runs) < 4:
        findings.doubts.append(f"{len(runs)} runs are too few for intervals over runs (four are expected).")
    table: dict[str, dict[str, float]] = {}
    for name in results.study.explain:
        row: dict[str, float] = {}
        for cell in CELLS:
            found = _distances(results, runs, name, cell)
            quantity = f"L2 distance of average heatmaps, {cell}"
            row[quantity] = float("nan")
            if found is None:
                findings.figures.append(
                    Finding(quantity, name, None, note=f"a run has no {cell}, or no positive relevance")
                )
                continue
            row[quantity] = pair_mean(found)
            findings.figures.append(_finding(quantity, name, found, level, ""))
            if cell == "TP" and len(runs) > 2:
                labels = [f"run {done.run.repetition}" for done in runs]
                findings.pictures.append(
                    Picture(f"distances_{name}",
                            f"L2 distance between the runs' average heatmaps of true positives, {name}.",
                            partial(matrix, pd.DataFrame(found, labels, labels), f"L2, {name}"))
                )  # fmt: skip
        for measure, values in _measures(results, runs, name).items():
            quantity = f"overlap of top {k} regions, {measure}"
            usable = np.isfinite(values).all(axis=0)
            row[quantity] = float("nan")
            if usable.sum() < k:
                findings.figures.append(Finding(quantity, name, None, note=f"{int(usable.sum())} regions have a value"))
                continue
            shared = 100 * overlaps(values[:, usable], k)
            row[quantity] = pair_mean(shared)
            findings.figures.append(_finding(quantity, name, shared, level, "%"))
        table[name] = row
    frame = pd.DataFrame(table).T
    findings.tables["agreement_between_runs"] = frame.rename_axis("method").reset_index()
    overlap_columns = [column for column in frame.columns if column.startswith("overlap")]
    groups = {column.split(", ")[-1]: frame[column].tolist() for column in overlap_columns}
    findings.pictures.insert(
        0,
        Picture("overlap", f"Overlap of the {k} leading regions between runs, mean over pairs, by method and measure.",
                partial(bars, list(frame.index), groups, "overlap of leading regions, %")),
    )  # fmt: skip
    _answer(findings, frame, overlap_columns)
    findings.doubts.append(
        "Distances grow with the number of voxels and with how spread out a map is: they rank methods on one grid, and "
        "are not to be held against another grid's. A method that shows the scan alone agrees perfectly between runs."
    )
    return findings


def _finding(quantity: str, name: str, values: NDArray[np.float64], level: float, unit: str) -> Finding:
    low, high = jackknife(values, level)
    if unit == "%" and low is not None and high is not None:
        low, high = max(low, 0.0), min(high, 100.0)  # a share
    pairs = values[np.triu_indices(len(values), 1)]
    note = f"{len(pairs)} pairs, {pairs.min():.4g} to {pairs.max():.4g}"
    return Finding(quantity, name, number(pair_mean(values)), low, high, len(values), unit, METHOD, note=note)


def _distances(results: Results, runs: list[FinishedRun], name: str, cell: str) -> NDArray[np.float64] | None:
    maps = [results.mean_map(done, name, cell) for done in runs]
    if any(volume is None for volume in maps):
        return None
    try:
        return l2_distances([v.data for v in maps if v is not None], results.study.options.get("scale", "maximum"))
    except InputError:
        return None  # no positive relevance to scale by


def _measures(results: Results, runs: list[FinishedRun], name: str) -> dict[str, NDArray[np.float64]]:
    """Mean of each region over patients, a row per run: sum of magnitudes, density, and gain against all controls."""
    rows: dict[str, list[NDArray[np.float64]]] = {measure: [] for measure in MEASURES}
    for done in runs:
        tables = RegionTables(results, done, name)
        patients, controls = tables.wide("absolute", ("TP",)), tables.controls("absolute")
        voxels = tables.wide("voxels").iloc[0].to_numpy(dtype=np.float64)
        mean = patients.mean().to_numpy()
        rows["sum"].append(mean)
        rows["density"].append(np.divide(mean, voxels, out=np.full_like(mean, np.nan), where=voxels > 0))
        known = len(patients) and len(controls)
        rows["gain"].append(group_gain(patients, controls) if known else np.full_like(mean, np.nan))
    return {measure: np.stack(values) for measure, values in rows.items()}


def _answer(findings: Findings, frame: pd.DataFrame, columns: list[str]) -> None:
    means = frame[columns].mean(axis=1).dropna().sort_values(ascending=False, kind="stable")
    if len(means) > 1:
        findings.answers.append(
            f"{means.index[0]} names the same leading regions most often ({means.iloc[0]:.0f} % on average over the "
            f"measures), {means.index[-1]} least often ({means.iloc[-1]:.0f} %)."
        )
    distances = frame.filter(like="L2").mean(axis=1).dropna().sort_values(kind="stable")
    if len(distances) > 1:
        findings.answers.append(
            f"Average heatmaps lie nearest to each other with {distances.index[0]} (L2 {distances.iloc[0]:.4g}), "
            f"farthest with {distances.index[-1]} ({distances.iloc[-1]:.4g})."
        )


def pair_mean(matrix: NDArray[np.float64]) -> float:
    """Mean over all pairs of different runs of a symmetric matrix; NaN for one run."""
    upper = matrix[np.triu_indices(len(matrix), 1)]
    return float(upper.mean()) if upper.size else float("nan")


def jackknife(matrix: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """Interval of `pair_mean`: pairs share runs, so runs are left out one by one (Arvesen 1969, U-statistics).

    Parameters
    ----------
    matrix : ndarray, shape (runs, runs)
        A measure between every two runs.
    level : float
        Coverage.

    Returns
    -------
    (float, float) or (None, None)
        Student's t with runs - 1 degrees of freedom; None for fewer than four runs, or where nothing varies.
    """
    from scipy.stats import t

    n = len(matrix)
    critical_value(level)
    if n < 4:
        return None, None
    whole = pair_mean(matrix)
    left = np.array([pair_mean(np.delete(np.delete(matrix, k, 0), k, 1)) for k in range(n)])
    values = n * whole - (n - 1) * left
    error = float(values.std(ddof=1) / np.sqrt(n))
    if not error > 0:
        return None, None
    half = float(t.ppf(0.5 + level / 2, n - 1)) * error
    return whole - half, whole + half
