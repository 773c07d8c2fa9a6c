"""A person with scores, what a reference is adjusted for (age as a line, sex as an offset), and scales of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, one_of

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("age", "sex")


@dataclass(frozen=True)
class Subject:
    """One person: scores by region, age in years, sex as the reference's controls have it."""

    participant_id: str
    scores: Mapping[str, float]
    age: float | None = None
    sex: str | None = None

    def in_order(self, regions: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores in the order of a reference's regions.

        Raises
        ------
        InputError
            If the regions are not the same.
        """
        absent = [name for name in regions if name not in self.scores]
        extra = [str(name) for name in self.scores if name not in set(regions)]
        if absent or extra:
            raise InputError(
                f"{self.participant_id}: regions do not match: the reference has {_some(absent)} that the subject "
                f"lacks, the subject {_some(extra)} that the reference lacks; score both with one atlas"
            )
        return np.array([float(self.scores[name]) for name in regions])


@dataclass(frozen=True)
class Design:
    """Columns of the regression: an intercept, age around the controls' mean, an offset for each sex but the first.

    Parameters
    ----------
    age_mean : float or None
        None where age is not adjusted for.
    age_range : (float, float) or None
        The controls' youngest and oldest, in years; None where unknown.
    sexes : tuple of str
        The controls' sexes; one or none: not adjusted for.
    """

    age_mean: float | None = None
    age_range: tuple[float, float] | None = None
    sexes: tuple[str, ...] = ()

    @property
    def adjusted(self) -> tuple[str, ...]:
        """Columns that a person must have."""
        return tuple(
            name for name, used in zip(COLUMNS, (self.age_mean is not None, len(self.sexes) > 1), strict=True) if used
        )

    @property
    def width(self) -> int:
        """Number of regression columns."""
        return 1 + (self.age_mean is not None) + max(len(self.sexes) - 1, 0)

    def row(self, who: str, age: float | None, sex: str | None) -> NDArray[np.float64]:
        """Regression row of a person, shape (width,).

        Raises
        ------
        InputError
            If age or sex is adjusted for and missing, or no control had that sex.
        """
        values = [1.0]
        if self.age_mean is not None:
            if age is None or not np.isfinite(age):
                raise InputError(f"{who} has no age, and the reference is adjusted for age; add it to participants.tsv")
            values.append(float(age) - self.age_mean)
        if len(self.sexes) > 1:
            if sex is None:
                raise InputError(f"{who} has no sex, and the reference is adjusted for sex; add it to participants.tsv")
            if sex not in self.sexes:
                raise one_of(f"sex of {who}:", sex, self.sexes, "These are the sexes of the reference's controls.")
            values.extend(float(sex == other) for other in self.sexes[1:])
        return np.array(values)

    def beyond(self, age: float | None, sex: str | None) -> bool:
        """Whether the person is younger, older or of another sex than all controls: a comparison on trust."""
        if self.age_range is not None and age is not None and not self.age_range[0] <= age <= self.age_range[1]:
            return True
        return bool(self.sexes) and sex is not None and sex not in self.sexes


def design_of(
    ids: Sequence[str], people: pd.DataFrame | None, adjust: Sequence[str] | None
) -> tuple[Design, NDArray[np.float64]]:
    """Return the design of a cohort and its rows, shape (people, width).

    Parameters
    ----------
    ids : sequence of str
        The controls.
    people : pandas.DataFrame or None
        Index: participants. Columns age (years) and sex, where known.
    adjust : sequence of str, optional
        Of ``"age"``, ``"sex"``; by default each column that exists, holds a value and varies.

    Raises
    ------
    InputError
        If a column asked for is absent or constant, or a control lacks its value.
    """
    for name in adjust or ():
        if name not in COLUMNS:
            raise one_of("column to adjust for", name, COLUMNS)
    found = {name: _column(ids, people, name) for name in COLUMNS}
    use = {}
    for name, values in found.items():
        known = {v for v in values if v is not None}
        use[name] = name in adjust if adjust is not None else len(known) > 1
        if not use[name]:
            continue
        if len(known) < 2:
            raise InputError(f"{name} does not vary among the controls, nothing to adjust for; leave it out of adjust")
        missing = [who for who, value in zip(ids, values, strict=True) if value is None]
        if missing:
            raise InputError(
                f"{len(missing)} controls have no {name} (the first is {missing[0]}); add it to participants.tsv, "
                f"leave them out, or do not adjust for {name}"
            )
    ages = [float(v) for v in found["age"] if v is not None]
    design = Design(
        float(np.mean(ages)) if use["age"] else None,
        (min(ages), max(ages)) if ages else None,
        tuple(sorted({str(v) for v in found["sex"] if v is not None})) if use["sex"] or adjust is None else (),
    )
    rows = [design.row(who, age, sex) for who, age, sex in zip(ids, found["age"], found["sex"], strict=True)]
    return design, np.stack(rows)


def _column(ids: Sequence[str], people: pd.DataFrame | None, name: str) -> list[Any]:
    """Values of a column, None where unknown."""
    if people is None or name not in people.columns:
        return [None] * len(ids)
    absent = [who for who in ids if who not in people.index]
    if absent:
        raise InputError(f"{absent[0]} has scores, but no row in the table of people; give it a row")
    values = people.loc[list(ids), name].tolist()
    return [None if v is None or v != v else (float(v) if name == "age" else str(v)) for v in values]


def _some(names: Sequence[str]) -> str:
    return f"{names[0]!r} and {len(names) - 1} more" if len(names) > 1 else repr(names[0]) if names else "none"


Scale = Literal["linear", "log"]
SCALES: tuple[Scale, ...] = ("linear", "log")


def scaled(scores: NDArray[np.float64], logs: NDArray[np.bool_], ids: Sequence[str]) -> NDArray[np.float64]:
    """Bring scores to their scales; NaN stays NaN.

    Parameters
    ----------
    scores : ndarray, shape (people, regions)
    logs : ndarray of bool, shape (regions,)
        Where logarithms are compared.
    ids : sequence of str
        People, for messages.

    Raises
    ------
    InputError
        If a score is zero or negative where logarithms are compared.
    """
    wrong = np.argwhere((scores <= 0) & logs)
    if wrong.size:
        who, value = ids[int(wrong[0, 0])], float(scores[tuple(wrong[0])])
        raise InputError(
            f"{who}: a region's score is {value:g}, expected above 0 on the scale 'log'; use the scale 'linear', or "
            "a measure without negative values"
        )
    made = np.array(scores, dtype=np.float64)
    made[:, logs] = np.log(made[:, logs])
    return made


def logs_of(scores: NDArray[np.float64], scale: Scale | None) -> NDArray[np.bool_]:
    """Tell in which regions logarithms are compared.

    Without a scale that is where all known scores are above 0; nowhere if a score is negative, as a measure of both
    signs has no logarithm, and a region without a negative score is so by chance.

    Raises
    ------
    InputError
        If the scale is unknown.
    """
    if scale is None:
        return np.asarray(((scores > 0) | np.isnan(scores)).all(axis=0) & ~(scores < 0).any())
    if scale not in SCALES:
        raise one_of("scale", scale, SCALES)
    return np.full(scores.shape[1], scale == "log")


def unscaled(values: NDArray[np.float64], logs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bring values of each region back from its scale."""
    made = np.array(values, dtype=np.float64)
    made[logs] = np.exp(made[logs])
    return made
