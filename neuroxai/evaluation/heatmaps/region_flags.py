"""How often a reference of healthy controls flags regions: where an effect was planted, and where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.statistics import Reference, Subject

Array = NDArray[np.float64]
FLAGS = ("planted_flagged", "sham_flagged", "sham_alarms")


def shares_of(sums: Array, absolute: Array, voxels: NDArray[np.integer]) -> Array:
    """Return densities of regions as shares of a scan's absolute relevance, NaN for regions without a voxel.

    Parameters
    ----------
    sums, absolute : ndarray, shape (scans, regions)
        Relevance of each region, and its magnitude.
    voxels : ndarray of int, shape (regions,)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums / absolute.sum(axis=1, keepdims=True) / np.where(voxels > 0, voxels, np.nan))


def flag_rates(
    patients: Array, controls: Array, planted: NDArray[np.bool_], level: float = 0.05
) -> dict[str, NDArray[np.float64]]:
    """Compare each patient, and the control in the same place, with all other controls (`Reference`).

    Where patients have twins, these stand in the same place among the controls: nobody is compared with the own twin.
    Ages are not adjusted for. On the logarithms where scores allow it, as `neuroxai compare`.

    Parameters
    ----------
    patients : ndarray, shape (patients, regions)
        Scores that can be compared between scans (`shares_of`).
    controls : ndarray, shape (controls, regions)
        Of scans that the network was not trained on.
    planted : ndarray of bool, shape (patients, regions)
        Regions that the effect lies in.
    level : float
        False discovery rate within a scan that flags a region, and p of an alarm.

    Returns
    -------
    dict of str to ndarray, shape (patients,)
        ``planted_flagged`` (1 where a planted region is flagged), ``sham_flagged`` (1 where any region of the control
        is: the level, if the reference keeps its word) and ``sham_alarms`` (share of the control's regions with p at
        most the level). NaN where no reference can be made: of too few controls (`Reference.fit`), or of maps of zeros.
    """
    found = {name: np.full(len(patients), np.nan) for name in FLAGS}
    known = np.isfinite(controls).any(axis=0)
    names = [str(number) for number in np.flatnonzero(known)]
    for n in range(min(len(patients), len(controls))):
        others = np.delete(np.arange(len(controls)), n)
        try:
            table = pd.DataFrame(controls[others][:, known], [f"control-{k}" for k in others], names)
            reference = Reference.fit(table, measure="share", adjust=(), scale=None)
            patient, sham = (
                reference.compare(Subject(who, dict(zip(names, row.tolist(), strict=True))))
                for who, row in (("patient", patients[n, known]), ("sham", controls[n, known]))
            )
        except InputError:
            continue
        found["planted_flagged"][n] = bool((patient["q"].to_numpy() <= level)[planted[n, known]].any())
        found["sham_flagged"][n] = bool((sham["q"] <= level).any())
        found["sham_alarms"][n] = float((sham["p"].dropna() <= level).mean())
    return found
