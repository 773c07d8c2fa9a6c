"""The tables of `neuroxai compare`: rows for people and regions from what the other modules compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuroxai.errors import InputError, LeakageError
from neuroxai.statistics.bootstrap import difference_interval, mean_interval, ratio_interval
from neuroxai.statistics.design import Subject
from neuroxai.statistics.permutation import group_difference
from neuroxai.statistics.reference import Members, Reference
from neuroxai.statistics.regions import gain, gain_is_known, gains_are_scores, pairs

if TYPE_CHECKING:
    import pandas as pd

#: Pairs of scans listed at most.
PAIRS = 1000


def groups_table(
    patients: pd.DataFrame,
    controls: pd.DataFrame,
    voxels: pd.Series[float],
    permutations: int = 9999,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two groups region by region.

    Parameters
    ----------
    patients, controls : pandas.DataFrame
        Density of relevance: one row per participant, one column per region. One that is NaN throughout has no figure.
    voxels : pandas.Series
        Size of each region.
    permutations, replicates, seed : int
        Of the tests and of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per region: voxels; mean density of each group and their difference, with 95 % bootstrap intervals
        (BCa) over participants; Welch's t with permutation p, family-wise p and q; group gain with its interval
        (percentiles), NaN where the controls have too little (see `neuroxai.statistics.regions`).
    """
    import pandas as pd

    one, two = patients.to_numpy(dtype=np.float64), controls.to_numpy(dtype=np.float64)
    known = ~np.isnan(np.concatenate([one, two])).all(axis=0)
    test = group_difference(
        np.concatenate([one, two]), np.arange(len(one) + len(two)) < len(one), permutations=permutations, seed=seed
    )
    options: dict[str, Any] = {"replicates": replicates, "seed": seed}
    columns: dict[str, Any] = {"voxels": voxels.to_numpy()}
    for name, found in (
        ("patients", mean_interval(one[:, known], **options)),
        ("controls", mean_interval(two[:, known], **options)),
        ("difference", difference_interval(one[:, known], two[:, known], **options)),
        ("gain", ratio_interval(one[:, known], two[:, known], **options)),
    ):
        for suffix, part in (("", found.value), ("_low", found.low), ("_high", found.high)):
            columns[name + suffix] = np.full(len(known), np.nan)
            columns[name + suffix][known] = part
        if name == "difference":
            columns.update(t=test.t, p=test.p, p_family=test.p_family, q=test.q)
    unusable = ~gain_is_known(two) | bool(no_gains(patients, controls, voxels))
    for suffix in ("", "_low", "_high"):
        columns["gain" + suffix][unusable] = np.nan
    return pd.DataFrame(columns, index=pd.Index(voxels.index, name="region")).reset_index()


def no_gains(patients: pd.DataFrame, controls: pd.DataFrame, voxels: pd.Series[float]) -> str:
    """Say why no region has a gain, see `gains_are_scores`; empty where they may have one."""
    one, two = (float((group.mean() * voxels).sum()) for group in (patients, controls))
    return gains_are_scores(one, two)


def gain_table(
    sums: pd.DataFrame, densities: pd.DataFrame, controls: pd.DataFrame, measure: str = "sum", known: bool = True
) -> pd.DataFrame:
    """List every patient's sum, density and gain, one row per patient and region.

    Parameters
    ----------
    sums, densities : pandas.DataFrame
        Of the patients.
    controls : pandas.DataFrame
        Densities of all controls. On one grid the gain of densities is that of sums.
    measure : str
        What was summed up, for the column's name.
    known : bool
        False: gains tell nothing (see `no_gains`), and are NaN.
    """
    import pandas as pd

    people, regions = sums.shape
    return pd.DataFrame(
        {
            "participant_id": np.repeat([str(name) for name in sums.index], regions),
            "region": np.tile([str(name) for name in sums.columns], people),
            measure: sums.to_numpy().ravel(),
            "density": densities.to_numpy().ravel(),
            "gain": np.where(
                gain_is_known(controls) & known, gain(densities.to_numpy(), controls.to_numpy()), np.nan
            ).ravel(),
        }
    )


def percentiles_table(
    reference: Reference, densities: pd.DataFrame, people: pd.DataFrame, members: Members = "refuse"
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Compare every participant with a reference, one row per participant and region; see `Reference.compare`.

    Parameters
    ----------
    reference : Reference
        Of controls.
    densities : pandas.DataFrame
        One row per participant, one column per region.
    people : pandas.DataFrame
        Index: participants. Columns class, age and sex.
    members : {"refuse", "leave-one-out", "strangers"}
        What to do with participants whose identifier is that of a control.

    Returns
    -------
    (pandas.DataFrame, dict of str to str)
        The table, and who could not be compared, and why.

    Raises
    ------
    InputError
        If nobody can be compared.
    LeakageError
        If a participant is one of the controls and `members` is ``"refuse"``.
    """
    import pandas as pd

    tables, failed = [], {}
    known = people.loc[densities.index].to_dict("records")
    for name, scores, person in zip(densities.index, densities.to_dict("records"), known, strict=True):
        own = {str(region): float(value) for region, value in scores.items()}
        subject = Subject(str(name), own, _value(person.get("age")), _value(person.get("sex")))
        try:
            table = reference.compare(subject, members).reset_index()
        except LeakageError:
            raise
        except InputError as error:
            failed[str(name)] = str(error)
            continue
        table.insert(0, "participant_id", str(name))
        table.insert(1, "class", _value(person.get("class")))
        tables.append(table)
    if not tables:
        raise InputError(next(iter(failed.values()), "no participant to compare with the reference; give at least one"))
    return pd.concat(tables, ignore_index=True), failed


def fingerprints_table(densities: pd.DataFrame, probabilities: pd.Series[float], above: float = 0.9) -> pd.DataFrame:
    """List pairs of patients with a class score above a threshold, the most different first, at most `PAIRS`.

    Empty where fewer than two are above it.
    """
    import pandas as pd

    sure = densities[(probabilities.loc[densities.index] > above).to_numpy()]
    found = pairs(sure.to_numpy())[:PAIRS] if len(sure) > 1 else []
    names = [str(name) for name in sure.index]
    return pd.DataFrame(
        {
            "first": [names[pair.first] for pair in found],
            "second": [names[pair.second] for pair in found],
            "cosine_distance": [pair.distance for pair in found],
            "first_probability": [float(probabilities.loc[names[pair.first]]) for pair in found],
            "second_probability": [float(probabilities.loc[names[pair.second]]) for pair in found],
        }
    )


def _value(cell: Any) -> Any:
    return None if cell is None or cell != cell else cell
