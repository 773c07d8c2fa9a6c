"""Under-sampling to equal sex within age bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuroxai.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


class Matched(NamedTuple):
    """Who stays, who was drawn out (with the reason), and who could not be matched at all; identifiers sorted."""

    kept: list[str]
    removed: dict[str, str]
    unusable: dict[str, str]


def match_sex(subjects: pd.DataFrame, rng: np.random.Generator, width: float = 5.0) -> Matched:
    """Draw as many women as men in each age bin of each class (Klingenberg et al. 2021, section 2.1).

    Bins are ``[k * width, (k + 1) * width)`` years: 60 to 64, 65 to 69 and so on for five.

    Parameters
    ----------
    subjects : pandas.DataFrame
        One row per subject: participant_id, label, sex (``F``, ``M``), age (years).
        Where the classes are the sexes themselves, give every subject the same label.
    rng : numpy.random.Generator
        Chooses whom to remove.
    width : float
        Years a bin spans.

    Returns
    -------
    Matched
        Who is kept, who is removed, and whose sex or age is unknown.

    Raises
    ------
    InputError
        If the width is not positive or nobody is left.
    """
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"age bins of {width} years are not possible; give a positive width, such as 5")
    kept: list[str] = []
    removed: dict[str, str] = {}
    unusable: dict[str, str] = {}
    bins: dict[tuple[int, int], dict[str, list[str]]] = {}
    ordered = subjects.sort_values("participant_id")
    columns = (ordered[name].tolist() for name in ("participant_id", "label", "sex", "age"))
    for name, label, sex, age in zip(*columns, strict=True):
        if sex not in ("F", "M") or age is None or np.isnan(age):
            unusable[name] = "cannot be matched: sex (F or M) or age is unknown"
        else:
            bins.setdefault((int(label), int(age // width)), {"F": [], "M": []})[sex].append(name)
    for (_, number), sexes in sorted(bins.items()):
        size = min(len(names) for names in sexes.values())
        for sex, names in sexes.items():
            chosen = {names[i] for i in rng.permutation(len(names))[:size]}
            kept += sorted(chosen)
            low, high = number * width, (number + 1) * width
            for name in sorted(set(names) - chosen):
                removed[name] = f"matched away: too many {sex} of age {low:g} to under {high:g} in the class"
    if not kept:
        raise InputError(
            "matching leaves nobody: no class has women and men in the same age bin; "
            "leave out --match, or give wider bins (--match-width)"
        )
    return Matched(sorted(kept), removed, unusable)
