"""Rows of delimited text: an unclosed quote, a ragged row or a table without end is refused with its line."""

from __future__ import annotations

import csv
import re

from neuroxai.errors import InputError

#: Columns and letters that a table may have: far more than cohorts' and regions' tables, far less than memory.
MOST_COLUMNS, MOST_LETTERS = 10_000, 500_000_000


def delimited(text: str, separator: str) -> list[tuple[int, list[str]]]:
    r"""Split a table's text into rows of cells; a cell ends with its line, so that no quote can swallow rows.

    Parameters
    ----------
    text : str
        The whole table.
    separator : str
        One character.

    Returns
    -------
    list of (int, list of str)
        Line number from 1 and cells, stripped and unquoted. Blank lines are left out.

    Raises
    ------
    InputError
        If a quote is opened and not closed on its line, or closed in the middle of a cell, for a NUL, and for more than
        `MOST_COLUMNS` columns or `MOST_LETTERS` letters; the line is named.

    Examples
    --------
    >>> delimited('id,note\n\n1,"a, b"', ",")
    [(1, ['id', 'note']), (3, ['1', 'a, b'])]
    """
    if len(text) > MOST_LETTERS:
        raise InputError(f"the table has {len(text)} letters, the limit is {MOST_LETTERS}; take it apart")
    rows = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip():
            continue
        if line.count(separator) >= MOST_COLUMNS:
            raise InputError(
                f"line {number} has {line.count(separator) + 1} columns, the limit is {MOST_COLUMNS}; keep those needed"
            )
        if "\0" in line:
            raise InputError(f"line {number} holds a NUL, expected text; save the table as UTF-8")
        try:
            (cells,) = csv.reader(
                [line.rstrip(" ")], delimiter=separator, strict=True, skipinitialspace=separator != " "
            )
        except csv.Error as error:
            raise InputError(
                f"line {number}: a quote is not closed where its cell ends ({error}): {line.strip()[:60]!r}; "
                "close or remove the quote"
            ) from None
        rows.append((number, [cell.strip() for cell in cells]))
    return rows


def even_rows(text: str, separator: str = "\t") -> list[list[str]]:
    """Return the rows of a table whose first row is the header; all have its number of cells.

    Empty cells beyond the header are left out.

    Raises
    ------
    InputError
        As `delimited`; for a row with more or fewer cells than the header, or a table without a header.
    """
    rows: list[list[str]] = []
    for number, cells in delimited(text, separator):
        width = len(rows[0]) if rows else len(cells)
        if len(cells) > width and not any(cells[width:]):
            del cells[width:]
        if len(cells) != width:
            comparison = "more" if len(cells) > width else "fewer"
            raise InputError(
                f"line {number} has {len(cells)} cells, {comparison} cells than the header ({width}); even them out "
                "(n/a for what is missing)"
            )
        rows.append(cells)
    if not rows:
        raise InputError("holds no row, expected a header")
    return rows


_RISKY = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)", re.IGNORECASE)


def guarded(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it for a formula, on one line; `unguarded` gives it back.

    What begins with ``= + - @`` (or their wide forms) and is no number gets an apostrophe before it.

    >>> guarded("=1+1"), guarded("-1.5"), guarded("-sum(a1)"), guarded("a=b")
    ("'=1+1", '-1.5', "'-sum(a1)", 'a=b')
    """
    flat = re.sub(r"[\t\r\n]+", " ", text).lstrip() if re.search(r"[\t\r\n]", text) else text
    return f"'{flat}" if _RISKY.match(flat) and not _NUMBER.fullmatch(flat) else flat


def unguarded(cell: str) -> str:
    """Return the text that `guarded` was given.

    >>> unguarded("'=1+1"), unguarded("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell[:1] == "'" and _RISKY.match(cell) else cell
