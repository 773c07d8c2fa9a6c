"""Label tables in columns, with a header or without one: each column of whole numbers may be the index."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from neuroxai.atlas.label_fit import Reading, Row, is_whole, some
from neuroxai.atlas.sides import split_side
from neuroxai.errors import InputError
from neuroxai.io import delimited


# How headers call things, without case, blanks and strokes; the first that is there is taken.
def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_INDEX = _words(
    "index labelvalue roivalue imagevalue voxelvalue pixelvalue value grayvalue greyvalue graylevel greylevel "
    "intensity id idx labelid labelindex roiid roiindex regionid regionindex parcelid parcelindex structureid segid key"
)
_INDEX_TOO = _words(
    "number no nr num labelnumber labelno roinumber roino regionnumber code label labels roi region parcel"
)
_NAME = _words(
    "name labelname roiname regionname structurename areaname parcelname fullname longname anatomicalname structure "
    "structures region roi area parcel label labels description anatomy"
)
_SHORT = _words("abbreviation abbr roiabbr shortname acronym")
_SIDE = _words("hemisphere hemi hem side laterality lr")
_COLOURS = _words(
    "r g b a red green blue alpha colorr colorg colorb colora colourr colourg colourb coloura rgb rgba color colour "
    "hex opacity"
)
_SIDES = {"l": "left", "left": "left", "lh": "left", "r": "right", "right": "right", "rh": "right"}
# an index for each side, as CerebrA has it: "RH Label" and "LH Labels"
_SIDED_INDEX = re.compile(
    r"(lh|left|rh|right|[lr](?=label|index|value))(hemi\w*?)?(label|index|id|value|roi)(id|s|value)?"
)
_NO_SIDE = (*_words("b both bilateral m mid midline medial median none n/a na -"), "")
COMMENT = ("#", "%", "//")
MOST_COLUMNS = 1000
# the columns of a BIDS dseg.tsv
BIDS = "index and name"
_SEPARATORS = ("\t", ";", "|", ",")


def with_header(lines: list[tuple[int, str]]) -> list[Reading]:
    """Read a table whose first line names its columns.

    Returns
    -------
    list of Reading
        One for each column of whole numbers; empty if the text is no such table.

    Raises
    ------
    InputError
        If a row has too few or too many cells, a quote is not closed, or no column can be taken for the names.
    """
    for at in _heads(lines):
        number, head = lines[at]
        body = [line for line in lines[at + 1 :] if not line[1].lstrip().startswith(COMMENT)]
        for separator in (*_SEPARATORS, None):
            header = [_plain(cell) for cell in head.lstrip(" #%/").split(separator)]
            if len(header) < 2 or not is_header(header, both=separator is None):
                continue
            if separator is None:
                rows = [(n, line.split()) for n, line in body]
                if any(len(cells) != len(header) for _, cells in rows):
                    continue  # names with blanks: no columns
            elif head.lstrip().startswith(COMMENT) and not all(separator in line for _, line in body):
                continue
            else:
                rows = _rows(body, separator)
            return _columns(header, rows, number)
    return []


def _heads(lines: list[tuple[int, str]]) -> list[int]:
    """Places of lines that may be the header: comments at the top, the first other line, or that below a title."""
    first = next((at for at, (_, line) in enumerate(lines) if not line.lstrip().startswith(COMMENT)), len(lines))
    title = first < len(lines) and not any(separator in lines[first][1].rstrip(" ,;\t") for separator in _SEPARATORS)
    return list(range(min(first + 1 + title, len(lines))))


def without_header(lines: list[tuple[int, str]]) -> list[Reading]:
    """Read columns that no header names: every line has the same number of cells; empty if there are none.

    Raises
    ------
    InputError
        If a line has not as many cells as the others; it is named.
    """
    for separator in _SEPARATORS:
        if 2 * sum(separator in line for _, line in lines) <= len(lines):
            continue
        rows = [(number, _trimmed(cells)) for number, cells in _rows(lines, separator)]
        if len(rows) > 1 and all(cell and not re.search(r"\d", cell) for cell in rows[0][1]):
            rows = rows[1:]  # headings in words that are not known here: a label would have an index
        widths = [len(cells) for _, cells in rows]
        width = max(set(widths), key=widths.count)
        odd = [(number, cells) for number, cells in rows if len(cells) != width]
        if width < 2 or (odd and width == 2 and (separator == "," or all(len(cells) < 2 for _, cells in odd))):
            return []  # commas may belong to the names
        if odd:
            raise InputError(
                f"line {odd[0][0]} has {len(odd[0][1])} cells, the others have {width}; put names that hold the "
                "separator into quotes, or name the columns in a first line"
            )
        whole = [at for at in range(width) if all(is_whole(cells[at]) for _, cells in rows)]
        if 0 not in whole and 2 * _wholes(rows, 0) > len(rows):
            bad = next((number, cells) for number, cells in rows if not is_whole(cells[0]))
            raise InputError(f"line {bad[0]}: index {bad[1][0]!r} is not a whole number from 0; correct it")
        text = [at for at in range(width) if 2 * sum(_is_number(cells[at]) for _, cells in rows) < len(rows)]
        spaced = separator == "," and all(", " in line for _, line in lines)
        readings = []
        for at in whole:
            others = text or [other for other in whole if other != at][-1:]
            names = _names(rows, others, joined=spaced)
            edge = at == whole[0] or (len(whole) == 2 and at == width - 1)
            listed = tuple(Row(cells[at], name, number) for (number, cells), name in zip(rows, names, strict=True))
            readings.append(Reading(listed, f"index in column {at + 1}", 0 if edge else 2))
        return readings
    return []


def _rows(lines: list[tuple[int, str]], separator: str) -> list[tuple[int, list[str]]]:
    numbers = [number for number, _ in lines]
    rows = delimited("\n" * (numbers[0] - 1) + _spread(lines), separator) if lines else []
    return [(number, cells) for number, cells in rows if any(cells)]


def _spread(lines: list[tuple[int, str]]) -> str:
    """Join lines so that each keeps its number."""
    text, at = "", lines[0][0]
    for number, line in lines:
        text += "\n" * (number - at) + line
        at = number
    return text


def _plain(cell: str) -> str:
    return re.sub(r"[\W_]", "", cell).lower()


def is_header(cells: Sequence[str], both: bool = False) -> bool:
    """Whether cells are headings: no numbers, and one that is known for an index or a name (or each of both)."""
    plain = [_plain(cell) for cell in cells]
    index = any(cell in _INDEX or cell in _INDEX_TOO for cell in plain)
    name = any(cell in (*_NAME, *_SHORT) or cell.endswith("name") for cell in plain)
    return (index and name if both else index or name) and not any(cell.isdigit() for cell in plain)


def _columns(header: list[str], rows: list[tuple[int, list[str]]], line: int) -> list[Reading]:
    if not rows:
        raise InputError(f"line {line} names columns, but no row follows; is the table empty?")
    for number, cells in rows:
        if any(cells[len(header) :]):
            raise InputError(
                f"line {number} has {len(_trimmed(cells))} cells, the header has {len(header)} ({', '.join(header)}); "
                "put names that hold the separator into quotes"
            )
    if len(header) > MOST_COLUMNS:
        raise InputError(
            f"line {line} names {len(header)} columns, expected at most {MOST_COLUMNS}; is it a label table?"
        )
    widest = max(len(cells) for _, cells in rows)
    if 1 < widest < len(_trimmed(header)):
        raise InputError(
            f"line {line} names {len(_trimmed(header))} columns ({', '.join(header)}), but no row has more than "
            f"{widest} cells; correct the header"
        )
    if (both := _one_a_side(header, rows)) is not None:
        return [both]
    known = [at for word in (*_INDEX, *_INDEX_TOO) for at, cell in enumerate(header) if cell == word]
    whole = [
        at for at, cell in enumerate(header) if cell not in _COLOURS and not cell.endswith("name") and _holds(rows, at)
    ]
    # an index with a bad cell is an error, not a reason to look for another column
    spoilt = [at for at in known if header[at] in _INDEX and at not in whole and 2 * _wholes(rows, at) >= len(rows)]
    whole = spoilt[:1] or whole
    if not whole:
        whole = [at for at in known if header[at] in _INDEX][:1] or known[:1]
    readings = []
    general = {"r", "g", "b"} <= set(header) and not {"index", "name"} <= set(header)
    for at in whole:
        name_at = _name_column(header, rows, at)
        short = [number for number, cells in rows if len(cells) <= max(at, name_at)]
        if short:
            raise InputError(f"line {short[0]} has fewer columns than the header ({', '.join(header)})")
        names = _with_sides([cells[name_at] for _, cells in rows], (at, name_at), rows)
        listed = tuple(Row(cells[at], name, number) for (number, cells), name in zip(rows, names, strict=True))
        rank = 0 if header[at] in _INDEX else 1 if header[at] in _INDEX_TOO else 2
        bids = (header[at], header[name_at]) == ("index", "name")
        words = BIDS if bids else f"index in column {header[at]!r}, name in {header[name_at]!r}"
        readings.append(Reading(listed, words, rank, general))
    return readings


def _one_a_side(header: list[str], rows: list[tuple[int, list[str]]]) -> Reading | None:
    """Read a table that has the indices of the left and of the right side in columns of their own, if it is one."""
    found = {at: match for at, cell in enumerate(header) if (match := _SIDED_INDEX.fullmatch(cell))}
    sides = {_SIDES[match[1]]: at for at, match in found.items()}
    if len(found) != 2 or len(sides) != 2 or any(2 * _wholes(rows, at) < len(rows) for at in found):
        return None
    name_at = _name_column(header, rows, next(iter(found)))
    listed = []
    for number, cells in rows:
        name = cells[name_at] if name_at < len(cells) else ""
        own = {side: cells[at] for side, at in sides.items() if at < len(cells) and cells[at]}
        if len(set(own.values())) == 1:  # in the middle: told once, or as the same on both sides
            listed.append(Row(next(iter(own.values())), name, number))
        else:
            listed += [Row(index, f"{name} ({side})", number) for side, index in own.items()]
    return Reading(tuple(listed), f"indices in {' and '.join(repr(header[at]) for at in found)}")


def _wholes(rows: Sequence[tuple[int, list[str]]], at: int) -> int:
    return sum(at < len(cells) and is_whole(cells[at]) for _, cells in rows)


def _holds(rows: Sequence[tuple[int, list[str]]], at: int) -> bool:
    return _wholes(rows, at) == len(rows)


def _name_column(header: list[str], rows: list[tuple[int, list[str]]], index: int) -> int:
    def usable(at: int) -> bool:
        filled = any(at < len(cells) and cells[at] for _, cells in rows)
        return at != index and header[at] not in _COLOURS and filled and not _holds(rows, at)

    for word in _NAME:
        for at, cell in enumerate(header):
            if cell == word and (usable(at) or (cell.endswith("name") and at != index)):
                return at
    short = [at for at, cell in enumerate(header) if cell in _SHORT and usable(at)]
    others = [at for at, cell in enumerate(header) if usable(at) and cell not in (*_SIDE, *_SHORT)]
    others = [at for at in others if header[at].endswith("name")] or others
    others = others or short[:1]
    if len(others) == 1:
        return others[0]
    raise InputError(
        f"no column is called 'name', and {some([header[at] for at in others]) or 'none'} might hold the names; "
        "call one 'name'"
    )


def _with_sides(names: list[str], taken: Collection[int], rows: list[tuple[int, list[str]]]) -> list[str]:
    """Add the side that a column of sides gives to the names that say none.

    Raises
    ------
    InputError
        If name and column say different sides; the line is named.
    """
    columns = [at for at in range(max(len(cells) for _, cells in rows)) if at not in taken and _of_sides(rows, at)]
    if len(columns) != 1:
        return names
    sided = []
    for name, (number, cells) in zip(names, rows, strict=True):
        side = _SIDES.get(cells[columns[0]].lower(), "") if columns[0] < len(cells) else ""
        own = split_side(name)[0]
        if side and own not in ("", side):
            raise InputError(
                f"line {number}: {name!r} says {own}, its column of sides says {side}; correct one of them"
            )
        sided.append(f"{name} ({side})" if side and name and not own else name)
    return sided


def _of_sides(rows: list[tuple[int, list[str]]], at: int) -> bool:
    found = {cells[at].lower() for _, cells in rows if at < len(cells)}
    return bool(found & set(_SIDES)) and found <= {*_SIDES, *_NO_SIDE}


def _names(rows: list[tuple[int, list[str]]], columns: list[int], joined: bool) -> list[str]:
    """Take the column of names that no header names: the one that tells rows apart, of several the longest."""
    columns = [at for at in columns if not _of_sides(rows, at)] or columns
    cells = {at: [row[at] for _, row in rows] for at in columns}
    apart = [at for at in columns if len(set(cells[at])) == len(rows)]
    if len(columns) > 1 and (joined or not apart):
        return [", ".join(cell for cell in row if cell) for row in zip(*cells.values(), strict=True)]
    best = max(apart or columns, key=lambda at: sum(map(len, cells[at])))
    return _with_sides(cells[best], columns, rows)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell, re.ASCII) is not None


def _trimmed(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells
