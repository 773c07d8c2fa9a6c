"""What two trainings of one network have in common: means over pairs, with intervals over trainings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.statistics.intervals import critical_value


def pair_mean(matrix: NDArray[np.float64]) -> float:
    """Mean over all pairs of different runs of a symmetric matrix; NaN for one run."""
    upper = matrix[np.triu_indices(len(matrix), 1)]
    return float(upper.mean()) if upper.size else float("nan")


def jackknife(matrix: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """Interval of `pair_mean`: pairs share runs, so runs are left out one by one (Arvesen 1969, U-statistics).

    Parameters
    ----------
    matrix : ndarray, shape (runs, runs)
        A measure between every two runs.
    level : float
        Coverage.

    Returns
    -------
    (float, float) or (None, None)
        Student's t with runs - 1 degrees of freedom; None for fewer than four runs, or where nothing varies.
    """
    from scipy.stats import t

    n = len(matrix)
    critical_value(level)
    if n < 4:
        return None, None
    whole = pair_mean(matrix)
    left = np.array([pair_mean(np.delete(np.delete(matrix, k, 0), k, 1)) for k in range(n)])
    values = n * whole - (n - 1) * left
    error = float(values.std(ddof=1) / np.sqrt(n))
    if not error > 0:
        return None, None
    half = float(t.ppf(0.5 + level / 2, n - 1)) * error
    return whole - half, whole + half
