"""Region tables of an explain folder, one row a participant."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.cohort import describe
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_tsv
from neuroxai.report.folder import ExplainFolder
from neuroxai.report.values import Failure

if TYPE_CHECKING:
    import pandas as pd

Measure = Literal["sum", "absolute", "positive", "negative", "share"]
MEASURES = ("sum", "absolute", "positive", "negative", "share")
# columns of a region table that a measure needs
COLUMNS = {**{name: (name,) for name in MEASURES}, "share": ("sum", "absolute")}


@dataclass(frozen=True)
class CohortScores:
    """Relevance by participant and region.

    Parameters
    ----------
    sums : pandas.DataFrame
        The measure summed over each region: index participants, columns regions; the mean of a participant's scans.
    densities : pandas.DataFrame
        The same over each region's size; NaN where a region has no voxel in some scan.
    voxels : pandas.Series
        Size of each region; the mean over the scans where these were scored on grids of their own.
    people : pandas.DataFrame
        Index: participants. Columns class, age (mean over the scans), sex, probability (of the class explained, mean
        over the scans), scans (how many).
    failures : list of Failure
        Scans and participants that could not be used.
    notes : list of str
        What was understood rather than read as written.
    """

    sums: pd.DataFrame
    densities: pd.DataFrame
    voxels: pd.Series[float]
    people: pd.DataFrame
    failures: list[Failure]
    notes: list[str]


def read_scores(
    folder: ExplainFolder,
    participants: str | os.PathLike[str],
    target: str | None = None,
    measure: Measure = "sum",
    on_scan: Callable[[int, int], None] | None = None,
) -> CohortScores:
    """Read every scan's region table, and who it belongs to.

    Scans of one participant are not independent: they are averaged. A participant whose scans have different classes
    is left out. The measure ``"share"`` is a region's sum over the scan's absolute relevance in all regions: the
    pattern without the class score, which otherwise scales all regions of a scan.

    Raises
    ------
    InputError
        If participants.tsv cannot be used, or no scan is left.
    SpaceError
        If scans have different regions.
    """
    import pandas as pd

    described = describe(participants, [(i.participant_id, i.session_id or None) for i in folder.items], target)
    failures = [Failure(f"{n.participant_id} {n.session_id or ''}".strip(), n.reason) for n in described.left_out]
    unknown = {failure.title for failure in failures}
    rows: list[NDArray[np.float64]] = []
    voxels: list[NDArray[np.float64]] = []
    scored: list[dict[Any, Any]] = []
    regions: list[str] = []
    first = folder.items[0]
    scan_space = folder.record.get("score_space") == "scan"
    known = iter(described.scans.to_dict("records"))
    for count, item in enumerate(folder.items):
        if on_scan is not None:
            on_scan(count + 1, len(folder.items))
        if item.title in unknown:
            continue
        person = next(known)
        try:
            table = read_tsv(item.regions, required=("name", "voxels", *COLUMNS[measure]))
            values = _values(table, measure)
        except InputError as error:
            failures.append(Failure(item.title, str(error)))
            continue
        names = table["name"].astype(str).tolist()
        if not regions:
            regions, first = names, item
            twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
            if twice is not None:
                raise InputError(f"{item.regions}: two regions are called {twice!r}; give them names of their own")
        sizes = table["voxels"].to_numpy(dtype=np.float64)
        # on grids of their own, scans have regions of different size
        if names != regions or (voxels and not scan_space and (sizes != voxels[0]).any()):
            raise SpaceError(
                f"{item.regions} has other regions (or sizes) than {first.regions}; explain all scans with one atlas "
                "and bundle"
            )
        rows.append(values)
        voxels.append(sizes)
        scored.append({**person, "probability": item.probabilities[folder.positive]})
    if not rows:
        raise InputError(f"{folder.path}: no scan can be compared; the first: {failures[0].title}: {failures[0].error}")
    scans = pd.DataFrame(scored)
    classes = scans.groupby("participant_id")["class"].nunique(dropna=False)
    for name in classes[classes > 1].index:
        failures.append(Failure(str(name), f"its scans have different values of {described.target}"))
    keep = scans["participant_id"].map(classes).eq(1).to_numpy()
    sums, measured = pd.DataFrame(rows, columns=regions)[keep], pd.DataFrame(voxels, columns=regions)[keep]
    # a region that some scan's grid loses has no density that could be compared
    densities = sums / measured
    densities.loc[:, ~(measured > 0).all(axis=0)] = np.nan
    grouped = scans[keep].groupby("participant_id")
    people = grouped.agg({"class": "first", "age": "mean", "sex": "first", "probability": "mean"})
    people["scans"] = grouped.size()
    if people.empty:
        raise InputError(f"{folder.path}: no participant has one value of {described.target} in all scans")
    who = scans["participant_id"][keep]
    return CohortScores(
        sums.groupby(who).mean(), densities.groupby(who).mean(), measured.mean(), people, failures, described.notes
    )


def _values(table: pd.DataFrame, measure: Measure) -> NDArray[np.float64]:
    values = table[COLUMNS[measure][0]].to_numpy(dtype=np.float64)
    if measure != "share":
        return values
    total = float(table["absolute"].sum())
    if not total > 0:
        raise InputError("no relevance in any region: there is nothing to take a share of")
    return np.asarray(values / total)
