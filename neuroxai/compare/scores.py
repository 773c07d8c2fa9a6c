"""Region tables of an explain folder: one scan's, and the cohort's with one row per participant."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neuroxai.cohort import describe
from neuroxai.cohort.seen import worst
from neuroxai.derivatives.explain_folder import ExplainFolder, Item
from neuroxai.derivatives.explained import Failure
from neuroxai.derivatives.heatmaps import read_regions as region_table
from neuroxai.errors import InputError, SpaceError

if TYPE_CHECKING:
    import pandas as pd

Measure = Literal["sum", "absolute", "positive", "negative", "share"]
MEASURES: tuple[Measure, ...] = ("sum", "absolute", "positive", "negative", "share")
# columns of a region table that a measure needs
COLUMNS = {**{name: (name,) for name in MEASURES}, "share": ("sum", "absolute")}


@dataclass(frozen=True)
class Region:
    """Relevance of one named region in one scan."""

    name: str
    sum: float
    density: float
    voxels: int
    #: The density in standard errors for a region of this size (`neuroxai.atlas.score`), which ranks regions.
    contrast: float = 0.0


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
        Index: participants. Columns class, age (mean over the scans), sex, probability (of the patients' class, mean
        over the scans), seen (what the network had seen of them, see `neuroxai.cohort.seen`), scans (how many).
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
    known = zip(
        (item for item in folder.items if item.title not in unknown), described.scans.to_dict("records"), strict=True
    )
    tables: list[np.ndarray[Any, Any]] = []  # value and voxels of each region
    scored: list[dict[Any, Any]] = []
    first: tuple[Item, pd.DataFrame] | None = None
    for count, (item, person) in enumerate(known):
        try:
            table = region_values(item, measure)
        except InputError as error:
            failures.append(Failure(item.title, str(error)))
        else:
            first = first or (item, table)
            _same_regions(item, table, *first, folder.record.score_space == "scan")
            tables.append(table[["value", "voxels"]].to_numpy())
            scored.append({**person, "probability": item.probabilities[folder.patients], "seen": item.seen})
        if on_scan is not None:
            on_scan(count + 1, len(described.scans))
    if first is None:
        raise InputError(f"{folder.path}: no scan can be compared; the first: {failures[0].title}: {failures[0].error}")
    scans = pd.DataFrame(scored)
    classes = scans.groupby("participant_id")["class"].nunique(dropna=False)
    for name in classes[classes > 1].index:
        failures.append(Failure(str(name), f"its scans have different values of {described.target}"))
    keep = scans["participant_id"].map(classes).eq(1).to_numpy()
    if not keep.any():
        raise InputError(f"{folder.path}: no participant has one value of {described.target} in all scans")
    who = scans["participant_id"][keep]
    regions = first[1].index
    values, sizes = (pd.DataFrame(one, columns=regions)[keep] for one in np.stack(tables, axis=-1).transpose(1, 2, 0))
    densities = values / sizes
    # a region that some scan's grid loses has no density that could be compared
    densities.loc[:, ~(sizes > 0).all(axis=0)] = np.nan
    grouped = scans[keep].groupby("participant_id")
    people = grouped.agg({"class": "first", "age": "mean", "sex": "first", "probability": "mean", "seen": worst})
    people["scans"] = grouped.size()
    sums, means = values.groupby(who).mean(), densities.groupby(who).mean()
    return CohortScores(sums, means, sizes.mean(), people, failures, described.notes)


def read_regions(path: Path) -> list[Region]:
    """Read the region scores of one scan; regions without voxels on the grid are left out."""
    import pandas as pd

    frame = region_table(path, ("sum", "density", "voxels"))
    for column in ("sum", "density", "voxels"):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise InputError(f"{path}: column {column!r} holds text, expected numbers; explain the scan again")
    known = frame[frame["sum"].notna() & frame["density"].notna()]
    if known["name"].duplicated().any():
        name = known["name"][known["name"].duplicated()].iloc[0]
        raise InputError(f"{path}: region {name!r} stands in two rows, expected one; give each region its own name")
    return [
        Region(str(r["name"]), float(r["sum"]), float(r["density"]), int(r["voxels"]), contrast)
        for r, contrast in zip(known.to_dict("records"), _contrasts(known), strict=True)
    ]


def _contrasts(table: pd.DataFrame) -> list[float]:
    """Return how far regions stand out: the table's own column, or, of older tables, as if voxels were independent."""
    if "contrast" in table and table["contrast"].dtype.kind == "f" and table["contrast"].notna().any():
        return [float(value) for value in table["contrast"].fillna(0.0)]
    n, density = table["voxels"].to_numpy(dtype=float), table["density"].to_numpy(dtype=float)
    total = n.sum()
    spread = np.where((n > 0) & (n < total), 1 / np.maximum(n, 1) - 1 / max(total, 1), np.inf)
    return [float(value) for value in (density - (density * n).sum() / max(total, 1)) / np.sqrt(spread)]


def region_values(item: Item, measure: Measure) -> pd.DataFrame:
    """Read one scan's regions: index names, columns value (of the measure) and voxels.

    Raises
    ------
    InputError
        If the table cannot be used, or the scan has no relevance to take shares of.
    """
    import pandas as pd

    table = region_table(item.regions, ("voxels", *COLUMNS[measure]))
    names = table["name"].astype(str)
    if names.duplicated().any():
        twice = names[names.duplicated()].iloc[0]
        raise InputError(f"{item.regions}: two regions are called {twice!r}; give them names of their own")
    values = table[COLUMNS[measure][0]].to_numpy(dtype=np.float64)
    if measure == "share":
        total = float(table["absolute"].sum())
        if not total > 0:
            raise InputError("no relevance in any region: there is nothing to take a share of")
        values = values / total
    return pd.DataFrame({"value": values, "voxels": table["voxels"].to_numpy(dtype=np.float64)}, index=names.tolist())


def _same_regions(item: Item, table: pd.DataFrame, first: Item, expected: pd.DataFrame, own_grids: bool) -> None:
    # on grids of their own, scans have regions of different size
    if list(table.index) != list(expected.index) or not (own_grids or table["voxels"].equals(expected["voxels"])):
        raise SpaceError(
            f"{item.regions} has other regions (or sizes) than {first.regions}; explain all scans with one atlas and "
            "bundle"
        )
