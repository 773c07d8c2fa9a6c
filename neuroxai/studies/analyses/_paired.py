"""Arms compared run by run: the same split and repetition in both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroxai.statistics import bootstrap, paired_difference
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
    options = results.study.statistics
    how = options.bootstrap()
    both = pairs(results.runs[results.runs["chosen"]], first, second, column)
    if both.empty:
        return []
    means = both.groupby("split")[["first", "second"]].mean()
    rows = [("runs", both)]
    if both["repetition"].nunique() > 1 and len(means) > 1:
        rows.append(("split means", means))
    found = []
    for what, table in rows:
        seen = paired_difference(table["second"] * scale, table["first"] * scale, **how)
        low, high = seen.low, seen.high
        if what == "runs" and len(means) > 1:
            # repetitions of a split are not independent: splits are drawn
            interval = bootstrap(np.mean, both["difference"] * scale, clusters=[both["split"].tolist()],
                                 method="percentile", **how)  # fmt: skip
            low, high = number(interval.low), number(interval.high)
        note = seen.caveat("pairs")
        if what == "runs" and len(rows) > 1:
            note = "repetitions of a split are not independent: see split means"
        over = "splits" if len(means) > 1 else "repetitions"
        found.append(
            Finding(
                f"difference of {WORDS.get(column, column)} over {what}",
                f"{second} - {first}",
                seen.difference,
                low,
                high,
                seen.n,
                unit,
                f"Wilcoxon signed-rank; interval by bootstrap over {over}",
                seen.p,
                seen.effect,
                "rank-biserial r",
                note,
            )
        )
    return found
