"""TSV and JSON in and out, BIDS flavour, written atomically."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError
from neuroxai.io.files import atomic

if TYPE_CHECKING:
    import pandas as pd


def read_tsv(path: str | os.PathLike[str], required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a tab-separated table; identifiers stay text, ``n/a`` and empty cells are missing values.

    Parameters
    ----------
    path : path_like
        The table.
    required : sequence of str
        Columns that must be there.

    Raises
    ------
    InputError
        If the file is absent, is not a table, or lacks a column.
    """
    import pandas as pd

    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such table; give the path of a tab-separated file")
    try:
        frame = pd.read_csv(
            file,
            sep="\t",
            na_values=["n/a", "N/A", ""],
            keep_default_na=False,
            dtype={"participant_id": "str", "session_id": "str"},
            encoding="utf-8-sig",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not a tab-separated table ({str(error).splitlines()[0]})") from None
    frame.columns = [str(c).strip() for c in frame.columns]
    # pandas takes cells beyond the header for an index, which would shift every column, and renames doubles
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(f"{file}: is not a tab-separated table (rows have more cells than the header); even them out")
    twice = [name for name, count in Counter(_header(file)).items() if count > 1]
    if twice:
        raise InputError(f"{file}: column {twice[0]!r} stands twice, wanted once; rename or delete one")
    missing = [c for c in required if c not in frame.columns]
    if missing:
        raise InputError(f"{file}: column {missing[0]!r} is absent; the table has {', '.join(map(str, frame.columns))}")
    return frame


def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig") as handle:
        return [name.strip().strip('"') for name in handle.readline().rstrip("\n").split("\t")]


def delimited(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Split a table's text into rows of cells; a cell ends with its line, so that no quote can swallow rows.

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
        If a quote is opened and not closed on its line, or closed in the middle of a cell; the line is named.
    """
    rows = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip():
            continue
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


def write_tsv(path: str | os.PathLike[str], frame: pd.DataFrame) -> Path:
    """Write a table with ``n/a`` for missing values; floats keep 8 significant digits."""
    return write_text(path, frame.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.8g", lineterminator="\n"))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is absent or is not JSON.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the path of a JSON file")
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not valid JSON ({error})") from None


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write JSON with two-space indents, keys as given; NaN is refused, as JSON has none."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)
