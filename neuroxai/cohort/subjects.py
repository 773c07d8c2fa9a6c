"""From scans to subjects: who they were at the first scan, and in which age range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from neuroxai.cohort.labels import Labelled


def subjects_of(labelled: Labelled) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per subject, as at the first scan, and what is worth saying.

    Returns
    -------
    subjects : pandas.DataFrame
        participant_id, label, sex, age; sorted by participant_id.
    notes : list of str
        Subjects whose class changes, columns that cannot be stratified on.
    """
    # the scans stand in order of time
    table = labelled.scans.drop_duplicates("participant_id")[["participant_id", "label", "sex", "age"]]
    table = table.sort_values("participant_id", ignore_index=True)
    labels = labelled.scans.groupby("participant_id", sort=True)["label"].nunique()
    changing = [str(subject) for subject in labels.index[labels > 1]]
    notes = []
    if changing:
        notes.append(
            f"{len(changing)} subjects change class between sessions and are stratified on the first: "
            + ", ".join(changing[:10])
            + (" ..." if len(changing) > 10 else "")
        )
    for name in ("sex", "age"):
        absent = int(table[name].isna().sum())
        if absent:
            notes.append(f"{name} is unknown for {absent} of {len(table)} subjects; they form a range of their own")
    return table, notes


def age_ranges(ages: Sequence[float], bins: int, width: float | None = None) -> tuple[list[int], list[str]]:
    """Return the number of each subject's age range (0 the youngest, -1 unknown) and a note on the limits.

    Parameters
    ----------
    ages : sequence of float
        Years; NaN where unknown.
    bins : int
        Ranges at quantiles, about equally filled; fewer where ages tie.
    width : float, optional
        Ranges ``[k * width, (k + 1) * width)`` instead.
    """
    values = np.asarray(ages, dtype=np.float64)
    known = np.isfinite(values)
    numbers = np.full(values.shape, -1)
    if not known.any():
        return numbers.tolist(), []
    if width is not None:
        lowest = values[known].min() // width
        numbers[known] = (values[known] // width - lowest).astype(int)
        edges = [width * (lowest + k) for k in range(1, int(numbers.max()) + 1)]
    else:
        edges = np.unique(np.quantile(values[known], np.arange(1, bins) / bins)).tolist() if bins > 1 else []
        numbers[known] = np.searchsorted(edges, values[known], side="right")
    text = "one age range" if not edges else "age ranges divided at " + ", ".join(f"{e:g}" for e in edges) + " years"
    return numbers.tolist(), [text]
