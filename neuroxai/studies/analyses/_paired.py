"""Arms compared run by run: the same split and repetition in both."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai.statistics import bootstrap, mean_interval
from neuroxai.studies.analyses._common import WORDS, number
from neuroxai.studies.findings import Finding
from neuroxai.studies.results import Results


def pairs(table: pd.DataFrame, first: str, second: str, column: str) -> pd.DataFrame:
    """Return the values of two arms where both have a run of the same split and repetition.

    Parameters
    ----------
    table : pandas.DataFrame
        `Results.runs`, the runs that count.
    first, second : str
        Arms.
    column : str
        What is compared.

    Returns
    -------
    pandas.DataFrame
        Columns split, repetition, first, second, difference (second minus first).
    """
    keys = ["split", "repetition"]
    one, two = (
        table[table["arm"] == arm][[*keys, column]].rename(columns={column: name})
        for arm, name in ((first, "first"), (second, "second"))
    )
    both = one.merge(two, on=keys).dropna().sort_values(keys).reset_index(drop=True)
    return both.assign(difference=both["second"] - both["first"])


def rank_biserial(difference: NDArray[np.float64]) -> float:
    """Matched-pairs rank-biserial correlation (Kerby 2014): ranks in favour minus ranks against, over all; -1 to 1.

    Differences of zero are left out, as in Wilcoxon's test.
    """
    from scipy.stats import rankdata

    known = difference[difference != 0]
    if not len(known):
        return 0.0
    ranks = rankdata(np.abs(known))
    return float((ranks[known > 0].sum() - ranks[known < 0].sum()) / ranks.sum())


def least_p(count: int) -> float:
    """Return the smallest two-sided p that Wilcoxon's signed-rank test can give for so many pairs."""
    return float(min(1.0, 2.0 / 2**count))


def compare(
    results: Results, first: str, second: str, column: str, scale: float = 100.0, unit: str = "%"
) -> list[Finding]:
    """Compare two arms, over runs and over split means.

    Returns
    -------
    list of Finding
        The paired difference with its interval, Wilcoxon's signed-rank test over all pairs (as in Klingenberg 2021),
        and the same over split means, which are the independent units; empty without pairs.
    """
    from scipy.stats import wilcoxon

    options = results.study.statistics
    table = results.runs[results.runs["chosen"]]
    both = pairs(table, first, second, column)
    if both.empty:
        return []
    found = []
    by_split = both.groupby("split")["difference"].mean().to_numpy()
    rows = [("runs", both["difference"].to_numpy())]
    if both["repetition"].nunique() > 1 and len(by_split) > 1:
        rows.append(("split means", by_split))
    for what, difference in rows:
        low = high = None
        if what == "runs" and len(by_split) > 1:
            interval = bootstrap(np.mean, difference, clusters=[both["split"].tolist()], method="percentile",
                                 level=options.level, replicates=options.replicates, seed=options.seed)  # fmt: skip
            low, high = number(interval.low * scale), number(interval.high * scale)
        elif len(difference) > 1:
            interval = mean_interval(difference, level=options.level, replicates=options.replicates, seed=options.seed)
            low, high = number(interval.low * scale), number(interval.high * scale)
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
        floor = least_p(len(difference))
        note = f"{len(difference)} pairs cannot give a p below {floor:.2g}" if floor >= 0.05 else ""
        if what == "runs" and len(rows) > 1:
            note = "repetitions of a split are not independent: see split means"
        over = "splits" if len(by_split) > 1 else "repetitions"
        found.append(
            Finding(
                f"difference of {WORDS.get(column, column)} over {what}",
                f"{second} - {first}",
                float(difference.mean() * scale),
                low,
                high,
                len(difference),
                unit,
                f"Wilcoxon signed-rank; interval by bootstrap over {over}",
                p,
                rank_biserial(difference),
                "rank-biserial r",
                note,
            )
        )
    return found
