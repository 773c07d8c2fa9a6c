"""Where labels lie: evidence between two readings of a table that explain an image's values equally well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.sides import hemispheres, key_of

#: Gives the centre of each label in mm; called where there is something to settle.
Places = Callable[[], Mapping[int, NDArray[np.float64]]]

# mm beside the middle from which a label lies on one side; mm between a region and its mirrored other side; labels that
# must agree, and contradict; pairs that must be there, and the shares of them that mirror each other
_BESIDE, _MIRRORED = 5.0, 10.0
_FOR, _AGAINST, _PAIRS, _MOST, _FEW = 6, 3, 3, 0.8, 0.5


def settled(readings: Sequence[Mapping[int, str]], places: Mapping[int, NDArray[np.float64]]) -> int | None:
    """Return the reading whose names say the sides on which the labels lie; None where there is any doubt.

    Sides alone would not do: where a table names left and right in turn, a header that mirrors the image looks like a
    table that is one off. So the pairs of the right reading must mirror each other too, which no header changes.

    Parameters
    ----------
    readings : sequence of mapping
        For each reading the name of each value.
    places : mapping of int to ndarray
        For each value of the image the centre of its label in mm, towards right, anterior and superior.

    Returns
    -------
    int or None
        The place of a reading that no label contradicts while several contradict each other one.

    Examples
    --------
    >>> names = ["L a", "R a", "L b", "R b", "L c", "R c"]
    >>> places = {n: np.array([30.0 if n % 2 else -30, 20.0 * (n // 2), 0]) for n in range(6)}
    >>> settled([dict(enumerate(names, 1)), dict(enumerate(names))], places)
    1
    """
    if not places:
        return None
    middle = float(np.mean([place[0] for place in places.values()]))
    evidence = [_evidence(names, places, middle) for names in readings]
    proven = [n for n, (good, bad, pairs) in enumerate(evidence) if good >= _FOR and not bad and pairs >= _MOST]
    denied = [n for n, (_, bad, pairs) in enumerate(evidence) if bad >= _AGAINST and pairs < _FEW]
    return proven[0] if len(proven) == 1 and len(denied) == len(readings) - 1 else None


def _evidence(
    names: Mapping[int, str], places: Mapping[int, NDArray[np.float64]], middle: float
) -> tuple[int, int, float]:
    """Count the labels on the side that their names say and on the other, and the share of pairs that are mirrored."""
    split = hemispheres(names.values())
    good = bad = 0
    pairs: dict[str, dict[str, NDArray[np.float64]]] = {}
    for value, place in places.items():
        side, rest = split.get(names.get(value, ""), ("", ""))
        beside = (place[0] - middle) * {"left": -1, "right": 1, "": 0}[side]
        good += beside > _BESIDE
        bad += beside < -_BESIDE
        if side:
            pairs.setdefault(key_of(rest), {})[side] = place - [middle, 0, 0]
    both = [pair for pair in pairs.values() if len(pair) == 2]
    mirrored = [float(np.linalg.norm(p["left"] * [-1, 1, 1] - p["right"])) < _MIRRORED for p in both]
    return good, bad, float(np.mean(mirrored)) if len(both) >= _PAIRS else 0.0
