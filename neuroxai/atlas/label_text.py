"""Label tables as text: lines in one of the known forms become the ways in which they can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from neuroxai.atlas.label_columns import BIDS, COMMENT, is_header, with_header, without_header
from neuroxai.atlas.label_fit import Reading, Row, is_whole
from neuroxai.atlas.sides import is_no_region
from neuroxai.errors import InputError

Line = tuple[int, str]
Form = Callable[[list[Line], list[Line], list[int]], list[Reading]]

_ITK_SNAP = re.compile(r'\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.eE+-]+\s+\d+\s+\d+\s+"(.*)"\s*', re.ASCII)
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBERS = {count: rf"((?:\s+{_NUMBER}){{{count}}})" for count in (3, 4)}
_BEHIND = {count: re.compile(rf"\s*(\d+)\s+(\S.*?){numbers}\s*", re.ASCII) for count, numbers in _NUMBERS.items()}
_BEFORE = {count: re.compile(rf"\s*(\d+){numbers}\s+(\S.*?)\s*", re.ASCII) for count, numbers in _NUMBERS.items()}
_WORKBENCH = re.compile(r"\s*(\d+)(?:\s+\d+){4}\s*", re.ASCII)
_INDEX_FIRST = re.compile(r"\s*(\d+)(?:[.)](?=\s)|\s*[,;:=|]|(?=\s))\s*(?:-\s+)?(.*?)[\s,;]*", re.ASCII)
_INDEX_LAST = re.compile(r"\s*(\S.*?)[\s,;:=|]+(\d+)[\s,;]*", re.ASCII)


def readings_of(text: str, values: list[int]) -> tuple[str, list[Reading]]:
    """Find the form of a text, and the ways in which it can be read.

    Parameters
    ----------
    text : str
        The whole table.
    values : list of int
        The image's values above 0, sorted.

    Returns
    -------
    str
        The form's name; "" if it has none.
    list of Reading
        At least one, unless the form has no name.

    Raises
    ------
    InputError
        If a line of a known form cannot be read; it is named.
    """
    every = [(number, line) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1) if line.strip()]
    lines = [(number, line) for number, line in every if not line.lstrip().startswith(COMMENT)]
    for name, form in _FORMS:
        readings = form(every, lines, values) if lines else []
        if readings:
            return "BIDS dseg table" if readings[0].words == BIDS else name, readings
    return "", []


def _itk_snap(every: list[Line], lines: list[Line], values: list[int]) -> list[Reading]:
    return _one(Row(m[1], m[2], number) for number, m in _matches(_ITK_SNAP, lines, "ITK-SNAP labels"))


def _workbench(every: list[Line], lines: list[Line], values: list[int]) -> list[Reading]:
    # a name may begin with a comment's mark
    names, keys = every[0::2], [(number, _WORKBENCH.fullmatch(line)) for number, line in every[1::2]]
    if len(names) != len(keys) or not all(m for _, m in keys) or any(_WORKBENCH.fullmatch(line) for _, line in names):
        return []
    return _one(Row(m[1], line, number) for (number, line), (_, m) in zip(names, keys, strict=True) if m)


def _coloured(every: list[Line], lines: list[Line], values: list[int]) -> list[Reading]:
    """FreeSurfer, MRtrix and Slicer (colours behind the name), FSLeyes (colours of 0 to 1 before it)."""
    for body in _bodies(lines):
        for patterns, colours, name in ((_BEHIND, 3, 2), (_BEFORE, 2, 3)):
            for count in (4, 3):
                found = _matches(patterns[count], body, "a colour table")
                if found and max(float(word) for _, m in found for word in m[colours].split()) <= 255:
                    rows = _abbreviated([(number, m[1], m[name]) for number, m in found])
                    return [Reading(tuple(rows), general=True)]
    return []


def _plain(every: list[Line], lines: list[Line], values: list[int]) -> list[Reading]:
    """Read an index and a name a line, in either order, with or without a code on the other side."""
    for body in _bodies(lines):
        first = [(number, _INDEX_FIRST.fullmatch(line)) for number, line in body]
        last = [(number, _INDEX_LAST.fullmatch(line)) for number, line in body]
        by_first = [(number, m[1], m[2]) for number, m in first if m]
        by_last = [(number, m[2], m[1]) for number, m in last if m]
        readings = []
        if len(by_first) == len(body):
            readings.append(Reading(tuple(_abbreviated(_bare(by_first, _INDEX_LAST, 1))), "index before the name"))
        if len(by_last) == len(body):
            readings.append(Reading(tuple(_abbreviated(_bare(by_last, _INDEX_FIRST, 2))), "index behind the name"))
        if len(readings) == 1:
            return [Reading(readings[0].rows)]
        if readings:
            return readings
    _matches(_INDEX_FIRST, lines, "an index and a name")
    return []


def _one_line(every: list[Line], lines: list[Line], values: list[int]) -> list[Reading]:
    """Read a whole table on one line; a name alone is not taken for one."""
    if len(lines) != 1 or (len(values) == 1 and _INDEX_FIRST.fullmatch(lines[0][1]) and len(_whole(lines[0][1])) == 1):
        return []
    number, line = lines[0]
    for separator in ("\t", ";", "|", ","):
        pieces = [piece.strip() for piece in line.split(separator) if piece.strip()]
        for records in ([[piece] for piece in pieces], _records(pieces)):
            if len(records) < 2:
                continue
            try:
                readings = _plain([], [(number, "\t".join(record)) for record in records], values)
            except InputError:
                continue  # another separator may do
            if readings and all(row.name for reading in readings for row in reading.rows):
                return readings
    records = _records([re.sub(r"^(\d+)[.:,;=)]$", r"\1", word) for word in line.split()])
    if records:
        return _plain([], [(number, " ".join(record)) for record in records], values)
    if len(values) > 1 and len(set(_whole(line)) & {str(v) for v in values}) > 1:
        raise InputError(
            f"line {number} seems to hold a whole table, but names and indices do not take turns in it; "
            "put each label on a line of its own"
        )
    return []


def _names_alone(every: list[Line], lines: list[Line], values: list[int]) -> list[Reading]:
    """Read names without an index, which must be as many as the image has labels, and these 1, 2, 3 and so on."""
    names = [line.strip().strip("\"',") for _, line in lines]
    if names and is_header([names[0]]):
        lines, names = lines[1:], names[1:]
    first = 0 if names and is_no_region(names[0]) else 1
    if values != list(range(1, len(names) + first)) or not all(
        re.search(r"[^\W\d_]", name) for name in names[1 - first :]
    ):
        return []
    if any(_INDEX_FIRST.fullmatch(line) or re.search(r"[,;|:=\t]\s*\d+\s*$", line) for _, line in lines):
        return []  # a table whose other lines are damaged
    rows = [
        Row(str(place), name, number) for place, ((number, _), name) in enumerate(zip(lines, names, strict=True), first)
    ]
    return [Reading(tuple(rows), "names without an index: their order")]


_FORMS: tuple[tuple[str, Form], ...] = (
    ("ITK-SNAP labels", _itk_snap),
    ("workbench label list", _workbench),
    ("table with a header", lambda every, lines, values: with_header(every)),
    ("colour table", _coloured),
    ("one-line table", _one_line),
    ("columns", lambda every, lines, values: without_header(lines)),
    ("index-name text", _plain),
    ("list of names", _names_alone),
)


def _one(rows: Iterable[Row]) -> list[Reading]:
    listed = tuple(rows)
    return [Reading(listed)] if listed else []


def _matches(pattern: re.Pattern[str], lines: list[Line], form: str) -> list[tuple[int, re.Match[str]]]:
    """Match every line; none if fewer than half match, an error if a few do not: a damaged line is no other form."""
    found = [(number, pattern.fullmatch(line)) for number, line in lines]
    odd = [number for number, m in found if not m]
    if 2 * len(odd) >= len(lines):
        return []
    if odd:
        line = next(line for number, line in lines if number == odd[0])
        raise InputError(f"line {odd[0]} is not in the form of the others ({form}): {line.strip()[:60]!r}; correct it")
    return [(number, m) for number, m in found if m]


def _whole(line: str) -> list[str]:
    return [word for word in re.split(r"[\s,;:=|]+", line) if is_whole(word)]


def _bodies(lines: list[Line]) -> list[list[Line]]:
    """All lines, and all but the first where it is a header."""
    return [lines, lines[1:]] if len(lines) > 1 and is_header(re.split(r"[\s,;|:]+", lines[0][1])) else [lines]


def _bare(rows: list[tuple[int, str, str]], pattern: re.Pattern[str], group: int) -> list[tuple[int, str, str]]:
    """Drop what "1 Precentral_L 2001" has besides the index: a code of three digits or more, or a rising number.

    A number that is the index again ("1 Precentral_L 1") goes too.
    """
    found = [pattern.fullmatch(name) for _, _, name in rows]
    split = [(m[group], m[3 - group]) for m in found if m]
    if len(split) < len(rows) or any(len(name.split()) != 1 for name, _ in split):
        return rows
    if not all(is_whole(code) for _, code in split) or not all(is_whole(index) for _, index, _ in rows):
        return rows  # numbers too long to be one
    codes = [int(code) for _, code in split]
    again = codes == [int(index) for _, index, _ in rows]
    code = codes == sorted(set(codes)) if group == 2 else all(len(code) > 2 for _, code in split)
    if not (again or code):
        return rows
    if len({name for name, _ in split}) < len({index for _, index, _ in rows}):
        return rows
    return [(number, index, name) for (number, index, _), (name, _) in zip(rows, split, strict=True)]


def _abbreviated(rows: list[tuple[int, str, str]]) -> list[Row]:
    """Split "PREL    Precentral_L" into abbreviation and name, where all lines are made so; take quotes off names."""
    words = [name.split() for _, _, name in rows]
    wide = any(re.search(r"\S(?:\t|\s\s+)\S", name) for _, _, name in rows)
    indices = {index for _, index, _ in rows}
    if wide and all(len(pair) == 2 for pair in words) and len({pair[0] for pair in words}) == len(indices):
        return [Row(index, pair[1], number, pair[0]) for (number, index, _), pair in zip(rows, words, strict=True)]
    return [Row(index, _unquoted(name, number), number) for number, index, name in rows]


def _unquoted(name: str, number: int) -> str:
    if name[:1] == '"' and (len(name) < 2 or name[-1] != '"'):
        raise InputError(f"line {number}: a quote is not closed where its cell ends: {name[:60]!r}; close or remove it")
    return name[1:-1] if len(name) > 1 and name[0] in "\"'" and name[-1] == name[0] else name


def _records(words: list[str]) -> list[list[str]]:
    """Cut the words of one line into records: a number and words, words and a number, or number, word and number."""
    kinds = "".join("n" if is_whole(word) else "w" for word in words)
    if len(words) > 3 and len(words) % 3 == 0 and kinds == "nwn" * (len(words) // 3):
        return [words[start : start + 3] for start in range(0, len(words), 3)]
    for pattern in ("nw+", "w+n"):
        if re.fullmatch(f"(?:{pattern}){{2,}}", kinds):
            return [words[m.start() : m.end()] for m in re.finditer(pattern, kinds)]
    return []
