"""Normative reference: how unusual one subject's regions are against healthy controls, age and sex accounted for.

Least squares by hand: what statsmodels fits it cannot ship without the controls' own rows, and a reference must.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, LeakageError, one_of
from neuroxai.statistics.design import Design, Scale, Subject, design_of, logs_of, scaled, unscaled
from neuroxai.statistics.permutation import false_discovery

if TYPE_CHECKING:
    import pandas as pd

#: Fewest controls of a reference, and one more for each regression column beyond the intercept.
MINIMUM = 10
#: Order statistics kept a region, evenly spaced ones of a larger reference.
KEPT = 999
Members = Literal["refuse", "leave-one-out", "strangers"]
MEMBERS = ("refuse", "leave-one-out", "strangers")


@dataclass(frozen=True, eq=False)
class Reference:
    """Regression of each region on age and sex in healthy controls; made by `Reference.fit`.

    A subject's score is compared with what is expected at the same age and sex. ``t = (score - expected) /
    (sd * sqrt(1 + leverage))`` with ``controls - columns`` degrees of freedom: the uncertainty of the expectation is
    counted, so that small references do not cry wolf (without adjustment: Crawford & Howell 1998). The percentile is
    the rank among the controls' own deviations and assumes no distribution.

    Parameters
    ----------
    regions : tuple of str
        Names, in order.
    measure : str
        What was scored, such as ``"density"``.
    provenance : mapping
        What made the scores (method, checkpoint, atlas); `compare` of other scores would mean nothing.
    design : Design
        What is adjusted for.
    controls : int
        How many.
    members : frozenset of str
        Salted digests of the controls' identifiers.
    coefficients : ndarray, shape (columns, regions)
    sd : ndarray, shape (regions,)
        Residual standard deviation, NaN where a region has no voxel or never varies.
    inverse : ndarray, shape (columns, columns)
        Inverse of the design's cross-product.
    ordered : ndarray, shape (controls, regions)
        The controls' deviations, sorted within each region.
    false_alarms : float
        Share of controls' regions with p < .05 when each control is scored by all others: .05 where t holds.
    scale : {"linear", "log"}
        Deviations are those of the scores, or of their logarithms: for positive scores with a long upper tail.
    linear : frozenset of str
        Regions that are compared as they are though the scale is ``"log"``: a control's score there is not above 0.
    """

    regions: tuple[str, ...]
    measure: str
    provenance: Mapping[str, Any]
    design: Design
    controls: int
    members: frozenset[str]
    coefficients: NDArray[np.float64]
    sd: NDArray[np.float64]
    inverse: NDArray[np.float64]
    ordered: NDArray[np.float64]
    false_alarms: float
    salt: str = field(default="")
    scale: Scale = "linear"
    linear: frozenset[str] = frozenset()

    @classmethod
    def fit(
        cls,
        scores: pd.DataFrame,
        people: pd.DataFrame | None = None,
        measure: str = "density",
        provenance: Mapping[str, Any] | None = None,
        adjust: Sequence[str] | None = None,
        scale: Scale | None = "linear",
    ) -> Reference:
        """Make a reference of healthy controls, one row each. Use controls that the network was not trained on.

        Parameters
        ----------
        scores : pandas.DataFrame
            Index: participants. Columns: regions.
        people : pandas.DataFrame, optional
            Index: participants. Columns age and sex, where known.
        measure, provenance
            Recorded.
        adjust : sequence of str, optional
            Of ``"age"``, ``"sex"``; by default those that exist and vary; ``()`` for none.
        scale : {"linear", "log"}, optional
            See `Reference`; with None the logarithms where scores allow it (`neuroxai.statistics.design.logs_of`).

        Raises
        ------
        InputError
            If there are fewer than `MINIMUM` controls (and one more a column adjusted for), one stands in two rows, a
            value is missing, one control alone decides a column, or the scale is "log" and a score is not above 0.
        """
        ids = [str(name) for name in scores.index]
        twice = next((name for k, name in enumerate(ids) if name in ids[:k]), None)
        if twice:
            raise InputError(f"{twice} has two rows of scores, expected one per participant; average its scans first")
        design, rows = design_of(ids, people, adjust)
        n, least = len(ids), MINIMUM + rows.shape[1] - 1
        if n < least:
            what = f" adjusted for {' and '.join(design.adjusted)}" if design.adjusted else ""
            raise InputError(f"{n} controls, expected {least} or more for a reference{what}; add controls")
        values = scores.to_numpy(dtype=np.float64)
        logs = logs_of(values, scale)
        y = scaled(values, logs, ids)
        known = ~np.isnan(y).all(axis=0)
        if not np.isfinite(y[:, known]).all():
            raise InputError("a region is NaN or infinite in some controls only; score all with one atlas")
        inverse = np.asarray(np.linalg.pinv(rows.T @ rows), dtype=np.float64)
        leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows)
        alone = np.flatnonzero(leverage > 1 - 1e-9)
        if alone.size:
            raise InputError(
                f"{ids[alone[0]]} alone decides a column that is adjusted for (no other control has that sex); leave "
                "it out, or do not adjust"
            )
        coefficients = inverse @ rows.T @ y
        residual = y - rows @ coefficients
        df = n - rows.shape[1]
        sd = np.sqrt((residual**2).sum(axis=0) / df)
        sd[~(sd > 1e-12 * np.abs(y).max(axis=0))] = np.nan
        # what rounding leaves of a constant region is no deviation
        residual[:, np.isnan(sd)] = 0.0
        ordered = np.sort(residual * np.sqrt((1 - 1 / n) / (1 - leverage))[:, None], axis=0)
        if n > KEPT:
            ordered = np.quantile(ordered, (np.arange(KEPT) + 0.5) / KEPT, axis=0)
        alarms = two_sided(left_out_t(residual, leverage[:, None], sd, n - rows.shape[1]), n - rows.shape[1] - 1)[
            :, known
        ]
        names = tuple(str(name) for name in scores.columns)
        some = bool(logs[known].any())
        salt = hashlib.sha256(np.nan_to_num(ordered).tobytes()).hexdigest()[:16]
        return cls(
            regions=names,
            measure=measure,
            provenance=dict(provenance or {}),
            design=design,
            controls=n,
            members=frozenset(_digest(salt, name) for name in ids),
            coefficients=coefficients,
            sd=sd,
            inverse=inverse,
            ordered=ordered,
            false_alarms=float((alarms < 0.05).mean()) if alarms.size else 0.0,
            salt=salt,
            scale="log" if some else "linear",
            linear=frozenset(np.array(names)[~logs].tolist()) if some else frozenset(),
        )

    @property
    def logs(self) -> NDArray[np.bool_]:
        """In which regions logarithms are compared, shape (regions,)."""
        return np.array([self.scale == "log" and name not in self.linear for name in self.regions])

    def scale_notes(self) -> list[str]:
        """Say which regions are compared as they are, where the others' logarithms are."""
        names = sorted(self.linear)
        shown = ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
        what = "regions are compared as they are (scale linear), and not as logarithms, as a control's score is 0 there"
        return [f"{len(names)} of {len(self.regions)} {what}: {shown}"] if names else []

    def has(self, participant: str) -> bool:
        """Whether the reference was made from a participant of this identifier."""
        return _digest(self.salt, participant) in self.members

    def z(self, subject: Subject, members: Members = "refuse") -> pd.Series[float]:
        """Deviation of each region: a t-score that counts the reference's own uncertainty, see `compare`."""
        return self.compare(subject, members)["z"]

    def percentiles(self, subject: Subject, members: Members = "refuse") -> pd.Series[float]:
        """Rank of each region among the controls in percent, see `compare`."""
        return self.compare(subject, members)["percentile"]

    def compare(self, subject: Subject, members: Members = "refuse") -> pd.DataFrame:
        """Compare a subject with the controls.

        Parameters
        ----------
        subject : Subject
            Scores of the reference's measure and regions, in any order.
        members : {"refuse", "leave-one-out", "strangers"}
            What to do with a subject whose identifier is that of a control: refuse it, compare it with all other
            controls, or take it for somebody else of another cohort.

        Returns
        -------
        pandas.DataFrame
            Index: regions. Columns: value, expected (at this age and sex), z (see `Reference`), percentile
            (0 to 100, middle of ties), p (two-sided, of z), q (Benjamini-Hochberg over the regions), beyond (the
            person is outside the controls' ages or sexes). NaN where the reference has no spread; where logarithms are
            compared and the score is 0, the percentile alone is known.

        Raises
        ------
        InputError
            If regions do not match, age or sex is missing, or leave-one-out scores are not the reference's.
        LeakageError
            If the subject is one of the controls and `members` is ``"refuse"``.
        """
        import pandas as pd

        y, x = self._values(subject), self.design.row(subject.participant_id, subject.age, subject.sex)
        leverage, n, df = float(x @ self.inverse @ x), self.controls, self.controls - len(x)
        expected = x @ self.coefficients
        error, ordered = np.where(np.isnan(self.sd), 0.0, y - expected), self.ordered
        if self._leave_out(subject.participant_id, members):
            own = error * np.sqrt((1 - 1 / n) / (1 - leverage))
            if n == len(ordered):
                ordered = without(ordered, own, subject.participant_id)
            t, df, expected = left_out_t(error, leverage, self.sd, df), df - 1, y - error / (1 - leverage)
        else:
            own = error * np.sqrt((1 + 1 / n) / (1 + leverage))
            t = error / (self.sd * np.sqrt(1 + leverage))
        # a score of 0 has a rank, and no logarithm
        t = np.where(np.isneginf(y), np.nan, t)
        p = two_sided(t, df)
        return pd.DataFrame(
            {
                "value": unscaled(y, self.logs),
                "expected": unscaled(expected, self.logs),
                "z": t,
                "percentile": np.where(np.isnan(self.sd), np.nan, percentiles(ordered, own)),
                "p": p,
                "q": false_discovery(p),
                "beyond": self.design.beyond(subject.age, subject.sex),
            },
            index=pd.Index(self.regions, name="region"),
        )

    def _values(self, subject: Subject) -> NDArray[np.float64]:
        y = subject.in_order(self.regions)
        wrong = ~np.isfinite(y) & ~np.isnan(self.sd)
        if wrong.any():
            raise InputError(f"{subject.participant_id}: {self.regions[int(wrong.argmax())]} is not a finite number")
        zero = self.logs & (y == 0)
        made = scaled(np.where(zero, 1.0, y)[None], self.logs, [subject.participant_id]).reshape(-1)
        return np.where(zero, -np.inf, made)

    def _leave_out(self, participant: str, members: Members) -> bool:
        if members not in MEMBERS:
            raise one_of("choice for members", members, MEMBERS)
        if members == "strangers" or not self.has(participant):
            return False
        if members == "refuse":
            raise LeakageError(
                f"{participant} is one of the controls that the reference was made from; compare it with the others "
                "(members 'leave-one-out'), or say that another person bears the same identifier (members 'strangers')"
            )
        return True


def _digest(salt: str, participant: str) -> str:
    return hashlib.sha256(f"{salt} {participant}".encode()).hexdigest()[:16]


# what writing to a file takes from a number, relative to the largest deviation of its region
_TIE, _SAME = 1e-6, 1e-5


def left_out_t(error: Any, leverage: Any, sd: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """Return the deviation of a control from the regression of all others, t with ``df - 1`` degrees of freedom.

    The externally studentised residual (Belsley 1980): the closed form of fitting anew without that control.

    Parameters
    ----------
    error : ndarray, shape (..., regions)
        Residuals in the regression of all.
    leverage : float or ndarray
        The control's diagonal of the hat matrix.
    sd, df
        Residual standard deviation of all and its degrees of freedom.
    """
    rest = np.maximum(df * sd**2 - error**2 / (1 - leverage), 0.0) / (df - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(error / np.sqrt(rest * (1 - leverage)))


def two_sided(t: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """Two-sided p-value of Student's t."""
    from scipy.stats import t as student

    return np.asarray(2 * student.sf(np.abs(t), df))


def percentiles(ordered: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of a deviation among the controls' in percent, ``100 (below + ties / 2 + 1/2) / (controls + 1)``.

    Parameters
    ----------
    ordered : ndarray, shape (controls, regions)
    own : ndarray, shape (regions,)
    """
    tie = np.abs(ordered - own) <= _TIE * np.abs(ordered).max(axis=0)
    below = (ordered < own) & ~tie
    return np.asarray(100 * (below.sum(axis=0) + tie.sum(axis=0) / 2 + 0.5) / (len(ordered) + 1))


def without(ordered: NDArray[np.float64], own: NDArray[np.float64], who: str) -> NDArray[np.float64]:
    """Take one control's deviations out of the sorted ones, shape (controls - 1, regions).

    Raises
    ------
    InputError
        If they are not among them.
    """
    nearest = np.abs(ordered - own).argmin(axis=0)[None]
    gap = np.abs(np.take_along_axis(ordered, nearest, 0)[0] - own)
    if (gap > _SAME * np.abs(ordered).max(axis=0)).any():
        raise InputError(
            f"{who}: scores, age or sex are not those that the reference was made from; leave-one-out needs the same"
        )
    keep = np.ones(ordered.shape, dtype=bool)
    np.put_along_axis(keep, nearest, False, 0)
    return np.asarray(ordered.T[keep.T].reshape(ordered.shape[1], -1).T)
