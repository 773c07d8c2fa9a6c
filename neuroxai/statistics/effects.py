"""Standardised differences between two groups."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

FEWEST = 3
"""Values of a group from which a spread is taken."""


class Effect(NamedTuple):
    """Hedges' g, and the ends of its 95 % interval."""

    g: float
    low: float
    high: float


def hedges_g(patients: Any, controls: Any) -> Effect | None:
    """Difference of means in pooled standard deviations, corrected for small samples (Hedges & Olkin 1985).

    Parameters
    ----------
    patients, controls : array_like, shape (n,)
        Values of the two groups.

    Returns
    -------
    Effect or None
        None where a group has fewer than `FEWEST` values, or nothing varies. The interval is the normal one with the
        large-sample variance (n1 + n2) / (n1 n2) + g^2 / (2 (n1 + n2)).

    Examples
    --------
    >>> [round(value, 3) for value in hedges_g([4, 5, 6, 7], [1, 2, 3, 4])]
    [2.021, 0.317, 3.724]
    """
    from scipy.stats import norm

    x, y = np.asarray(patients, np.float64), np.asarray(controls, np.float64)
    n, m = len(x), len(y)
    if min(n, m) < FEWEST:
        return None
    pooled = math.sqrt(((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / (n + m - 2))
    if not pooled > 0:
        return None
    g = (x.mean() - y.mean()) / pooled * (1 - 3 / (4 * (n + m - 2) - 1))
    half = float(norm.ppf(0.975)) * math.sqrt((n + m) / (n * m) + g**2 / (2 * (n + m)))
    return Effect(float(g), float(g - half), float(g + half))
