"""Bootstrap intervals of any statistic, subjects drawn with replacement (`scipy.stats.bootstrap`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError, one_of
from neuroxai.statistics.intervals import critical_value

Method = Literal["BCa", "percentile"]
# stands for infinity while percentiles are interpolated
_INFINITE = 1e300


class Bootstrap(NamedTuple):
    """Value and limits of a statistic; floats, or arrays of one shape. NaN limits where nothing varied."""

    value: Any
    low: Any
    high: Any


def bootstrap(
    statistic: Callable[..., Any],
    *samples: ArrayLike,
    clusters: Sequence[Sequence[Any]] | None = None,
    method: Method = "BCa",
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """Interval of a statistic of one or several independent samples.

    Parameters
    ----------
    statistic : callable
        ``statistic(*samples, axis=0)``, vectorised over the other axes like ``numpy.mean``; with clusters
        ``statistic(*samples)`` that returns a number.
    *samples : array_like, shape (n, ...)
        Rows are drawn within each sample (each group).
    clusters : sequence of sequences, optional
        For each sample the subject of each row. Rows of one subject are not independent, so subjects are drawn, with
        all their rows (Field & Welsh 2007).
    method : {"BCa", "percentile"}
        Bias-corrected and accelerated (Efron 1987), or plain percentiles. Where BCa is undefined, percentiles step in.
    level : float
        Coverage aimed at.
    replicates, seed : int
        Draws.

    Returns
    -------
    Bootstrap
        Limits are NaN where all replicates agree: an interval of width zero would claim certainty.

    Raises
    ------
    InputError
        If a sample has fewer than two rows (or subjects), or the method is unknown.

    Examples
    --------
    >>> found = bootstrap(np.mean, [1.0, 2.0, 3.0, 4.0, 5.0])
    >>> float(found.value), bool(1 < found.low < 3 < found.high < 5)
    (3.0, True)
    """
    critical_value(level)
    if method not in ("BCa", "percentile"):
        raise one_of("bootstrap method", method, ("BCa", "percentile"))
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    if clusters is not None:
        return _clustered(statistic, data, clusters, (method, level, replicates, seed))
    for sample in data:
        if sample.ndim < 1 or len(sample) < 2:
            raise InputError(f"a sample of shape {sample.shape}: a bootstrap needs two rows or more")
    # blocks keep memory at some 64 MB
    block = max(8_000_000 // max(sample.size for sample in data), 1)
    options = {"axis": 0, "vectorized": True, "batch": block, "n_resamples": replicates}
    low, high = _limits(tuple(data), statistic, method, level, seed, options)
    return Bootstrap(statistic(*data, axis=0), low, high)


def mean_interval(values: ArrayLike, **options: Any) -> Bootstrap:
    """Mean of the rows with its interval; options as in `bootstrap`, without clusters."""
    return bootstrap(np.mean, values, **options)


def difference_interval(first: ArrayLike, second: ArrayLike, **options: Any) -> Bootstrap:
    """Difference of two groups' means with its interval."""

    def difference(a: NDArray[Any], b: NDArray[Any], axis: int) -> Any:
        return a.mean(axis=axis) - b.mean(axis=axis)

    return bootstrap(difference, first, second, **options)


def ratio_interval(first: ArrayLike, second: ArrayLike, **options: Any) -> Bootstrap:
    """Ratio of two groups' means (the group gain) with its interval; NaN where the second mean is not above zero.

    Percentiles by default: where a replicate's denominator is not above zero its ratio counts as infinite, which a
    rank can bear and BCa's moments cannot.
    """

    def ratio(a: NDArray[Any], b: NDArray[Any], axis: int) -> Any:
        below = b.mean(axis=axis)
        return np.where(below > 0, a.mean(axis=axis) / np.where(below > 0, below, 1.0), _INFINITE)

    found = bootstrap(ratio, first, second, **{"method": "percentile", **options})
    unknown = np.asarray(found.value) >= _INFINITE
    # a percentile between a finite and an infinite replicate is infinite
    parts = (np.where(np.abs(part) > _INFINITE / 1e6, np.inf, part) for part in found)
    return Bootstrap(*(np.where(unknown, np.nan, part)[()] for part in parts))


def _clustered(
    statistic: Callable[..., Any],
    data: list[NDArray[Any]],
    clusters: Sequence[Sequence[Any]],
    how: tuple[Method, float, int, int],
) -> Bootstrap:
    method, level, replicates, seed = how
    if len(clusters) != len(data):
        raise InputError(f"clusters of {len(clusters)} samples for {len(data)} samples; give one sequence a sample")
    rows: list[list[NDArray[np.int64]]] = []
    for sample, names in zip(data, clusters, strict=True):
        if len(names) != len(sample):
            raise InputError(f"{len(names)} clusters for {len(sample)} rows; give one subject a row")
        # in the order in which they first come
        found: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            found.setdefault(str(name), []).append(row)
        members = [np.array(own) for own in found.values()]
        if len(members) < 2:
            raise InputError("a sample of one subject: a bootstrap needs two subjects or more")
        rows.append(members)

    def of_subjects(*drawn: NDArray[np.int64]) -> Any:
        parts = [
            sample[np.concatenate([members[int(k)] for k in chosen])]
            for sample, members, chosen in zip(data, rows, drawn, strict=True)
        ]
        return statistic(*parts)

    subjects = tuple(np.arange(len(members)) for members in rows)
    options = {"vectorized": False, "n_resamples": replicates}
    low, high = _limits(subjects, of_subjects, method, level, seed, options)
    return Bootstrap(statistic(*data), low, high)


def _limits(
    data: tuple[NDArray[Any], ...],
    statistic: Callable[..., Any],
    method: Method,
    level: float,
    seed: int,
    options: dict[str, Any],
) -> tuple[Any, Any]:
    from scipy.stats import bootstrap as scipy_bootstrap

    def drawn(way: str) -> Any:
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            # what degenerates is NaN below
            warnings.simplefilter("ignore")
            return scipy_bootstrap(
                data,
                statistic,
                confidence_level=level,
                method=way,
                rng=np.random.default_rng(seed),
                **options,
            ).confidence_interval

    limits = drawn(method)
    low, high = np.asarray(limits.low), np.asarray(limits.high)
    undefined = np.isnan(low) | np.isnan(high)
    if method == "BCa" and undefined.any():
        plain = drawn("percentile")
        low, high = np.where(undefined, plain.low, low), np.where(undefined, plain.high, high)
    flat = ~(high > low)
    return np.where(flat, np.nan, low)[()], np.where(flat, np.nan, high)[()]
