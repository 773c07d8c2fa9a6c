"""Region scores of runs as tables: hemispheres joined, a row a scan, a column a region."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuroxai.atlas.sides import hemispheres
from neuroxai.cohort import class_groups
from neuroxai.studies.results import Done, Results

SCAN = ["participant_id", "session_id"]
SUMS = ["sum", "absolute", "positive", "negative", "voxels"]


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """Join the left and right part of each region: sums add up, density is the sum over both parts' voxels.

    Parameters
    ----------
    table : pandas.DataFrame
        `Results.regions`.

    Returns
    -------
    pandas.DataFrame
        Columns participant_id, session_id (empty text where there is none), region, sum, absolute, positive, negative,
        voxels, density (NaN for a region of no voxel); in the order of scans and regions.
    """
    sideless = {name: rest for name, (_, rest) in hemispheres(map(str, table["name"].unique())).items()}
    whole = table.assign(
        region=table["name"].astype(str).map(sideless), session_id=table["session_id"].fillna("").astype(str)
    )
    summed = whole.groupby([*SCAN, "region"], sort=False)[SUMS].sum().reset_index()
    return summed.assign(density=summed["sum"] / summed["voxels"].where(summed["voxels"] > 0))


class RegionTables:
    """Region scores of one run and explanation.

    Parameters
    ----------
    results : Results
        The study's.
    done : Done
        The run.
    explanation : str
        Its name.
    atlas : str, optional
        The study's first if left out.
    part : str
        Part of the split.
    """

    def __init__(
        self, results: Results, done: Done, explanation: str, atlas: str | None = None, part: str = "test"
    ) -> None:
        self.table = merged(results.regions(done, explanation, atlas, part))
        self.scans = results.scans(done, explanation, part)
        self.scans["session_id"] = self.scans["session_id"].fillna("").astype(str)
        self.positive = class_groups(results.study.cohorts[results.study.arms[done.run.arm].cohort].classes)[1]

    def wide(self, measure: str, cells: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a measure, a row a scan (participant and session), a column a region, in the atlas's order.

        Parameters
        ----------
        measure : str
            sum, absolute, positive, negative or density.
        cells : sequence of {"TP", "FP", "TN", "FN"}, optional
            Scans of these alone.
        """
        regions = list(dict.fromkeys(self.table["region"]))
        table = self.table.pivot(index=SCAN, columns="region", values=measure)[regions]
        chosen = self.scans if cells is None else self.scans[self.scans["cell"].isin(cells)]
        keys = pd.MultiIndex.from_frame(chosen[SCAN])
        return table.reindex(keys)

    def patients(self, measure: str) -> pd.DataFrame:
        """All patients, recognised or not."""
        return self.wide(measure, ("TP", "FN"))

    def controls(self, measure: str) -> pd.DataFrame:
        """All controls, right or wrong."""
        return self.wide(measure, ("TN", "FP"))
