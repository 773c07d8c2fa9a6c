"""Mean relevance of regions by group and network, hemispheres merged (Eitel 2019)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroxai.statistics import group_difference
from neuroxai.studies.analyses._regions import merged
from neuroxai.studies.results import Results

WHO = ["participant_id", "session_id"]


def region_values(results: Results, arm: str, explanation: str, atlas: str, part: str = "test") -> pd.DataFrame:
    """Return relevance a voxel of each subject and region, means over scans and runs.

    In multiples of the run's mean absolute relevance a voxel of all regions, since the scale of relevance is the run's
    own: 1 is what an average voxel has.

    Returns
    -------
    DataFrame
        participant_id, true, region, mean (signed), absolute. A region without a voxel is absent.
    """
    tables = []
    for done in results.chosen(arm):
        table = results.regions(done, explanation, atlas, part)
        whole = table["absolute"].sum() / max(float(table["voxels"].sum()), 1.0)
        true = _with_session(results.scans(done, explanation, part))[[*WHO, "true"]]
        both = merged(table).merge(true, on=WHO)
        both = both[both["voxels"] > 0]
        unit = whole if whole > 0 else 1.0
        tables.append(
            both.assign(mean=both["sum"] / both["voxels"] / unit, absolute=both["absolute"] / both["voxels"] / unit)
        )
    joined = pd.concat(tables, ignore_index=True)
    return joined.groupby(["participant_id", "true", "region"], as_index=False, sort=True)[["mean", "absolute"]].mean()


def _with_session(table: pd.DataFrame) -> pd.DataFrame:
    """Write an absent session as an empty text, which tables can be joined by."""
    session = table["session_id"].astype(object)
    return table.assign(session_id=session.where(session.notna(), ""))


def region_table(
    results: Results, arms: dict[str, str], explanation: str, atlas: str, part: str = "test"
) -> pd.DataFrame:
    """Return a row an arm and region: both groups' means and their difference, tested over subjects.

    Parameters
    ----------
    arms : dict of str to str
        Title to arm.

    Returns
    -------
    DataFrame
        arm, region, for each class mean_CLASS and absolute_CLASS, difference (patients minus controls), p_family
        (against the largest difference of all regions), leads (rank by the sum of both groups' absolute means, as in
        the paper).
    """
    found = []
    for title, arm in arms.items():
        values = region_values(results, arm, explanation, atlas, part)
        controls, patients = results.study.cohorts[results.study.arms[arm].cohort].classes
        wide = values.pivot(index=["participant_id", "true"], columns="region", values="mean")
        member = wide.index.get_level_values("true") == patients
        rows = pd.DataFrame({"arm": title, "region": wide.columns})
        size = values.pivot(index=["participant_id", "true"], columns="region", values="absolute")
        for name, who in ((controls, ~member), (patients, member)):
            for kind, table in (("mean", wide), ("absolute", size)):
                part_mean = table[who].mean(axis=0) if who.any() else pd.Series(np.nan, index=table.columns)
                rows[f"{kind}_{name}"] = part_mean.to_numpy()
        rows["difference"] = rows[f"mean_{patients}"] - rows[f"mean_{controls}"]
        rows["p_family"] = np.nan
        if min(member.sum(), (~member).sum()) > 1:
            options = results.study.statistics
            rows["p_family"] = group_difference(wide.to_numpy(), member, options.permutations, options.seed).p_family
        strength = rows[[f"mean_{controls}", f"mean_{patients}"]].abs().sum(axis=1, min_count=1)
        rows["leads"] = strength.rank(ascending=False, method="first")
        found.append(rows)
    return pd.concat(found, ignore_index=True)
