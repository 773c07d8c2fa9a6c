"""The twin swap: whether a method finds the regions that a network uses for this patient.

Of twins made of one scan (`neuroxai simulate --from`) one has a planted effect. What a region does for the score is
then known: the change when its voxels are replaced by the own twin's. It is the network's own use, not where the effect
was planted: a network may use a small part of an effect, and what lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.statistics import mean_interval

if TYPE_CHECKING:
    from torch import Tensor

MEASURES = ("rho", "top", "overlap")
MOST = 10
Array = NDArray[np.float64]


def swap_effects(
    network: Callable[[Tensor], Tensor], scan: Tensor, twin: Tensor, regions: NDArray[np.integer], batch: int = 16
) -> Array:
    """Return the change of a score when each region's voxels are replaced by the twin's.

    Parameters
    ----------
    network : callable
        Takes scans (n, channels, x, y, z), returns their scores (n,): the logit that is explained.
    scan, twin : torch.Tensor, shape (channels, x, y, z)
        On one grid, after the network's preparation.
    regions : ndarray of int, shape (x, y, z)
        Regions 1 to n; 0 is background.
    batch : int
        Regions swapped at once.

    Returns
    -------
    ndarray, shape (n,)
        Score of the scan minus score with the twin's region: what the scan's own region adds.

    Raises
    ------
    SpaceError
        If the shapes differ.
    """
    import torch

    if scan.shape != twin.shape or tuple(scan.shape[1:]) != regions.shape:
        raise SpaceError(
            f"scan, twin and regions have shapes {tuple(scan.shape)}, {tuple(twin.shape)} and {regions.shape}; one "
            "grid is expected"
        )
    where = torch.from_numpy(np.asarray(regions, np.int64)).to(scan.device)
    numbers = torch.arange(1, int(regions.max()) + 1, device=scan.device)
    with torch.no_grad():
        own = network(scan[None])[0]
        swapped = [
            network(torch.where(where == some.view(-1, 1, 1, 1, 1), twin, scan)) for some in torch.split(numbers, batch)
        ]
    return (own - torch.cat(swapped)).double().cpu().numpy()


def swap_agreement(scores: Array, effects: Array, most: int = MOST) -> dict[str, float]:
    """Compare a method's scores of regions with the effects of swapping them.

    Parameters
    ----------
    scores, effects : ndarray, shape (regions,)
        Of one scan, or means of a group.
    most : int
        How many regions count as the most used.

    Returns
    -------
    dict
        ``rho``: Spearman's correlation (0 where scores do not differ). ``top``: whether the highest region is among the
        most used. ``overlap``: share of the `most` highest regions that are. By chance most / regions for both.

    Raises
    ------
    InputError
        If there are not equally many, or fewer than `most`.
    """
    if scores.shape != effects.shape or scores.ndim != 1 or len(scores) < most:
        raise InputError(
            f"scores and effects have shapes {scores.shape} and {effects.shape}; one for each of {most} or more "
            "regions is expected"
        )
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (scores, effects)]
    varied = all(np.ptp(values) > 0 for values in ranks)
    used = set(np.argsort(-effects, kind="stable")[:most].tolist())
    leading = np.argsort(-scores, kind="stable")[:most].tolist()
    return {
        "rho": float(np.corrcoef(*ranks)[0, 1]) if varied else 0.0,
        "top": float(leading[0] in used),
        "overlap": len(used & set(leading)) / most,
    }


def single_scans(scores: Mapping[str, Array], effects: Array, most: int = MOST) -> pd.DataFrame:
    """Compare methods scan by scan, with 95 % bootstrap intervals over scans.

    Parameters
    ----------
    scores : mapping of str to ndarray, shape (scans, regions)
        By method.
    effects : ndarray, shape (scans, regions)
        Of `swap_effects`.
    most : int
        As for `swap_agreement`.

    Returns
    -------
    pandas.DataFrame
        A row a method: each measure with ``_low`` and ``_high``.
    """
    rows = {}
    for name, own in scores.items():
        found = [swap_agreement(one, effect, most) for one, effect in zip(own, effects, strict=True)]
        rows[name] = _intervals(np.array([[one[m] for m in MEASURES] for one in found]))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _intervals(values: Array) -> dict[str, float]:
    found = mean_interval(values)
    row: dict[str, float] = {}
    for k, name in enumerate(MEASURES):
        row |= {name: float(found.value[k]), f"{name}_low": float(found.low[k]), f"{name}_high": float(found.high[k])}
    return row


def groups(
    scores: Mapping[str, Array],
    shams: Mapping[str, Array],
    effects: Array,
    folds: Sequence[int],
    replicates: int = 500,
    seed: int = 0,
    most: int = MOST,
) -> pd.DataFrame:
    """Compare methods on group maps: patients' mean minus their shams', fold by fold (each has its own network).

    Parameters
    ----------
    scores, shams : mapping of str to ndarray, shape (subjects, regions)
        By method, of the patients and of their twins in the same order.
    effects : ndarray, shape (subjects, regions)
        Of swapping the patients' regions.
    folds : sequence of int
        Which network each subject's is.
    replicates, seed : int
        Of the bootstrap over subjects within folds (percentiles).
    most : int
        As for `swap_agreement`.

    Returns
    -------
    pandas.DataFrame
        As `single_scans`: means over folds. Limits are NaN where no fold has two subjects.
    """
    rng, number = np.random.default_rng(seed), np.asarray(folds)
    members = [np.flatnonzero(number == fold) for fold in np.unique(number)]
    draws = [members] + [[rng.choice(one, len(one)) for one in members] for _ in range(replicates)]
    rows = {}
    for name, own in scores.items():
        away = own - shams[name]
        values = []
        for draw in draws:
            each = [swap_agreement(away[one].mean(0), effects[one].mean(0), most) for one in draw]
            values.append([np.mean([found[m] for found in each]) for m in MEASURES])
        low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
        if len(members) == len(number):  # nothing to draw: a limit that equals the value would look like certainty
            low = high = np.full(len(MEASURES), np.nan)
        rows[name] = {
            key: float(value)
            for k, m in enumerate(MEASURES)
            for key, value in ((m, values[0][k]), (f"{m}_low", low[k]), (f"{m}_high", high[k]))
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
