"""Which name belongs to which value: ways to read a label table, held against the image's values and their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.sides import hemispheres, is_no_region, key_of, split_side
from neuroxai.errors import InputError

_WHOLE = re.compile(r"\+?\d{1,18}(\.0*)?", re.ASCII)
_LONGEST_NAME = 1000  # letters
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Row:
    """One label of a table: its index as written, its name, its line, and its abbreviation where there is one."""

    index: str
    name: str
    line: int = 0
    short: str = ""


@dataclass(frozen=True)
class Reading:
    """One way to read a table.

    Parameters
    ----------
    rows : tuple of Row
        What it lists.
    words : str
        Which columns it takes, for messages; "" where there is only one way.
    rank : int
        0 for the column that custom calls the index, more for columns that merely hold whole numbers.
    general : bool
        The table names what any image might hold (a colour table), not one atlas alone.
    """

    rows: tuple[Row, ...]
    words: str = ""
    rank: int = 0
    general: bool = False


@dataclass(frozen=True)
class Fit:
    """A reading with its values.

    Parameters
    ----------
    names : dict of int to str
        One name a value.
    words : str
        How a value follows from the table.
    general : bool
        See `Reading`.
    shifted : bool
        Whether values are the indices plus 1.
    by_places : bool
        Whether the places of the labels settled it, and not their values.
    """

    names: dict[int, str]
    words: str
    general: bool = False
    shifted: bool = False
    by_places: bool = False
    rank: int = 0
    region_at_0: bool = False
    places: dict[int, int] = field(default_factory=dict)
    turn: int = 0

    def unnamed(self, values: Sequence[int]) -> list[int]:
        """List the image's values that have no name."""
        return [value for value in values if value not in self.names]

    def on(self, values: Sequence[int]) -> tuple[int | None, ...]:
        """Give the rows that name the image's values: two readings that agree on them are one."""
        return tuple(self.places.get(value) for value in values)


def fit(readings: Sequence[Reading], values: Sequence[int], places: Places = dict) -> Fit:
    """Choose the reading that the image's values prove, or else the places of its labels.

    A table whose index 0 names a region counts from 0 (value = index + 1), unless 0 is the background under an unusual
    name (value = index); both ways are tried.

    Parameters
    ----------
    readings : sequence of Reading
        At least one.
    values : sequence of int
        The image's values above 0.
    places : callable, optional
        Gives the centre of each label in mm.

    Raises
    ------
    InputError
        If no reading gives one name a value, or several explain the image equally well: both are named.
    """
    fits: list[Fit] = []
    errors: list[tuple[tuple[int, int], InputError]] = []
    for turn, reading in enumerate(readings):
        try:
            names, rows = _numbered(reading.rows)
        except InputError as error:
            errors.append(((reading.rank, turn), error))
            continue
        region = 0 in names and not is_no_region(names[0])
        as_is = Fit(
            names,
            _words(reading, "value = index"),
            reading.general,
            rank=reading.rank,
            region_at_0=region,
            places=rows,
            turn=turn,
        )
        fits.append(as_is)
        if region:
            up = {index + 1: name for index, name in names.items()}
            moved = {index + 1: place for index, place in rows.items()}
            fits.append(
                replace(as_is, names=up, places=moved, words=_words(reading, "value = index + 1"), shifted=True)
            )
    covering = [one for one in fits if not one.unnamed(values)]
    # a customary index that is broken is not passed over for a column that merely fits, nor the first for one that
    # does not
    first = min([(one.rank, 0 if covering else one.turn) for one in fits], default=(LARGEST, 0))
    broken = [error for turn, error in sorted(errors, key=lambda one: one[0]) if turn < first]
    if broken:
        raise broken[0]
    if not covering:
        return _best_of(fits, values, places)
    rank = min(one.rank for one in covering)
    rivals = [one for one in fits if one.rank < rank and 2 * len(one.unnamed(values)) <= len(values)]
    if rivals:
        return _settled([rivals[0], covering[0]], values, places)
    best = [one for one in covering if one.rank == rank]
    # 0 is the image's background: what gives it a region's name yields to what does not
    best = [one for one in best if not one.region_at_0] or best
    if len({one.on(values) for one in best}) > 1 and not any(one.region_at_0 for one in best):
        best = [one for one in best if set(one.names) - {0} == set(values)] or best
    if len({one.on(values) for one in best}) > 1:
        return _settled(best, values, places)
    return best[0]


def names_of(rows: Sequence[Row]) -> dict[int, str]:
    """Give each index its name; synonyms of one index keep the first.

    Raises
    ------
    InputError
        If an index is no whole number from 0, or has two names; the line is named.
    """
    return _numbered(rows)[0]


def _numbered(rows: Sequence[Row]) -> tuple[dict[int, str], dict[int, int]]:
    """Give each index its name and the place of its row."""
    places: dict[int, int] = {}
    names: dict[int, str] = {}
    for place, row in enumerate(rows):
        text = re.sub(r"\s+", " ", row.name).strip()
        where = f"line {row.line}: " if row.line else ""
        if len(text) > _LONGEST_NAME:
            raise InputError(
                f"{where}the name {text[:40]!r} ... has {len(text)} letters, expected at most {_LONGEST_NAME}; "
                "shorten it"
            )
        if not _WHOLE.fullmatch(row.index.strip()):
            raise InputError(
                f"{where}index {row.index[:40]!r} (named {text!r}) is not a whole number from 0 to {LARGEST}; "
                "correct it"
            )
        value = int(row.index.strip().split(".")[0])
        if value > LARGEST:
            raise InputError(f"{where}index {value} (named {text!r}) is above {LARGEST}, the largest label; correct it")
        if value not in names:
            places[value], names[value] = place, text
        elif names[value] != text and not _synonyms(rows[places[value]], row):
            raise InputError(
                f"{where}index {value} has two names, {names[value]!r} and {text!r}; {_joined(rows) or 'remove one'}"
            )
    if not names:
        raise InputError("lists no label; is the table empty?")
    return names, places


def _joined(rows: Sequence[Row]) -> str:
    """Give the way out for a table that tells which labels were joined: several indices have several names each."""
    named: dict[str, set[str]] = {}
    for row in rows:
        named.setdefault(row.index.strip(), set()).add(row.name.strip())
    several = sum(len(names) > 1 for names in named.values())
    if several < 3:
        return ""
    return (
        f"{several} indices have several names each, as in a table by which labels are joined (MRtrix's "
        "*_convert.txt): give the names of the joined labels (*_labels.txt)"
    )


def is_whole(cell: str) -> bool:
    """Whether a cell is a whole number from 0, such as 17 or 17.0."""
    return _WHOLE.fullmatch(cell) is not None


def some(values: Sequence[object], most: int = 8) -> str:
    """List the first few values for a message."""
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "")


def _words(reading: Reading, rule: str) -> str:
    return f"{rule} ({reading.words})" if reading.words else rule


def _synonyms(first: Row, second: Row) -> bool:
    # "L.TH Left-Thalamus" and "L.TH Left-Thalamus-Proper": one abbreviation, or one name that the other only extends;
    # or cuts short, as in "Left-Accumbens-a"
    if first.short and first.short == second.short:
        return True
    short, long = sorted((first.name.casefold(), second.name.casefold()), key=len)
    same_side = split_side(first.name)[0] == split_side(second.name)[0]
    cut = short[-1:].isalpha() and long[len(short) : len(short) + 1].isalpha() and " " not in long[len(short) :]
    extended = re.match(r"[\s_.-]", long[len(short) :]) is not None
    return same_side and len(short) > 3 and long.startswith(short) and (extended or (cut and len(short) > 6))


def _best_of(fits: Sequence[Fit], values: Sequence[int], places: Places) -> Fit:
    least = min(len(one.unnamed(values)) for one in fits)
    if least == len(values):
        return min(fits, key=lambda one: one.rank)
    best = [one for one in fits if len(one.unnamed(values)) == least]
    best = [one for one in best if one.rank == min(b.rank for b in best)]
    if any(one.region_at_0 for one in best):
        return _settled([one for one in fits if one.region_at_0][:2], values, places)
    if len({one.on(values) for one in best}) > 1:
        return _settled(best, values, places)
    return best[0]


def _settled(fits: Sequence[Fit], values: Sequence[int], places: Places) -> Fit:
    """Choose among readings that fit the image's values equally well by where its labels lie, or refuse them."""
    seen: dict[tuple[int | None, ...], Fit] = {}
    for one in fits:
        seen.setdefault(one.on(values), one)
    different = list(seen.values())
    proven = settled([one.names for one in different], places())
    if proven is not None:
        return replace(different[proven], by_places=True)
    raise _undecided(different[:2], values)


def _undecided(two: Sequence[Fit], values: Sequence[int]) -> InputError:
    described = " or ".join(_described(one, values) for one in two)
    if any(one.region_at_0 for one in two):
        first = next(one for one in two if one.region_at_0)
        name = first.names.get(1 if first.shifted else 0)
        way_out = (
            f"index 0 is named {name!r}: call it 'Background' if it is the background, or add 1 to every index if the "
            "table counts from 0"
        )
    else:
        way_out = "keep one of the columns, and call it 'index'"
    return InputError(
        f"can be read in two ways, and the image (labels {some(list(values), 4)}) does not settle which: {described}; "
        f"{way_out}"
    )


def _described(one: Fit, values: Sequence[int]) -> str:
    unnamed, unused = len(one.unnamed(values)), len(set(one.names) - {0} - set(values))
    return f"{one.words} ({unnamed} labels without a name, {unused} names without a label)"


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
