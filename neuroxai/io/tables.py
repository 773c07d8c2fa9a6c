"""TSV and JSON in and out, BIDS flavour, written atomically."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError
from neuroxai.io.files import atomic
from neuroxai.io.names import sidecar_of
from neuroxai.io.rows import even_rows, guarded, unguarded

if TYPE_CHECKING:
    import pandas as pd

_MISSING = ["", "n/a", "N/A", "N/a", "n/A", "nan", "NaN", "NAN"]
#: What parts columns where a spreadsheet was not told to write tabs.
_SEPARATORS = {",": "commas", ";": "semicolons", " ": "blanks"}
#: Columns that hold names, in whichever form these are written.
_NAMES = ("participant_id", "session_id", "name", "true", "predicted")


def read_tsv(
    path: str | os.PathLike[str], required: Sequence[str] = (), text: bool = False, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a tab-separated table; identifiers stay text, ``n/a``, ``NaN`` and empty cells are missing values.

    A row is one line, see `neuroxai.io.rows`. An apostrophe that `write_tsv` put before what a spreadsheet would
    take for a formula is taken away.

    Parameters
    ----------
    path : path_like
        The table.
    required : sequence of str
        Columns that must be there.
    text : bool
        Leave all cells as they are written: ``01`` and ``1`` are two labels.
    numbers : sequence of str
        Columns that must be there and hold finite numbers, or nothing.

    Raises
    ------
    InputError
        If the file is absent, is not a table (an unclosed quote, more or fewer cells than the header), lacks a
        column, or holds something else where numbers are expected.
    """
    import pandas as pd

    file = Path(path)
    columns, *rows = _rows(file, (*required, *numbers))
    canonical = io.StringIO(newline="")
    csv.writer(canonical, delimiter="\t", lineterminator="\n").writerows(
        [columns, *([unguarded(cell) for cell in row] for row in rows)]
    )
    canonical.seek(0)
    # pandas 2, that of Python 3.10, may else be wrong in the last digit
    exact: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) > 2 else {"float_precision": "round_trip"}
    frame: pd.DataFrame = pd.read_csv(
        canonical,
        sep="\t",
        na_values=_MISSING,
        keep_default_na=False,
        dtype="str" if text else dict.fromkeys(_NAMES, "str"),
        index_col=False,
        skip_blank_lines=False,
        **exact,
    )
    for name in numbers:
        values = pd.to_numeric(frame[name], errors="coerce")
        bad = frame[name].notna() & ~values.between(-sys.float_info.max, sys.float_info.max)
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise InputError(
                f"{file}: column {name!r} holds {str(frame[name][row])[:60]!r} in row {row + 1}, expected a finite "
                "number; make the table again"
            )
        frame[name] = values
    return frame


def _rows(file: Path, required: Sequence[str]) -> list[list[str]]:
    """Read columns' names and rows, cells as they are written."""
    if not file.is_file():
        raise InputError(f"{file}: no such table; give the path of a tab-separated file")
    try:
        header, *rows = even_rows(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is no UTF-8: save it as text in UTF-8"
        raise InputError(f"{file}: is not a tab-separated table ({reason})") from None
    except InputError as error:
        raise InputError(f"{file}: is not a tab-separated table ({str(error).splitlines()[0]})") from None
    columns = [unguarded(name.strip()) for name in header]
    # pandas would rename doubles
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"{file}: column {twice[0]!r} stands twice, expected once; rename or delete one")
    missing = [c for c in required if c not in columns]
    if missing:
        for sign, name in _SEPARATORS.items():
            if len(columns) == 1 and missing[0] in map(str.strip, columns[0].split(sign)):
                raise InputError(f"{file}: its columns are parted by {name}, expected tabs; save it with tabs")
        raise InputError(f"{file}: column {missing[0]!r} is absent; the table has {', '.join(columns)[:1000]}")
    return [columns, *rows]


def write_tsv(path: str | os.PathLike[str], frame: pd.DataFrame) -> Path:
    """Write a table with ``n/a`` for missing values; floats keep 8 significant digits.

    Texts that a spreadsheet would take for a formula get an apostrophe before them, which `read_tsv` takes away.
    """
    return write_text(path, _table(frame))


def write_tsv_parts(path: str | os.PathLike[str], frames: Iterable[pd.DataFrame]) -> int:
    """Write tables of the same columns under each other, one at a time in memory; return how many, no file of none."""
    parts = iter(frames)
    first = next(parts, None)
    if first is None:
        return 0
    count = 1
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(_table(first))
        for frame in parts:
            file.write(_table(frame[first.columns], header=False))
            count += 1
    return count


def _table(frame: pd.DataFrame, header: bool = True) -> str:
    safe = frame.rename(columns=lambda name: guarded(str(name)))
    for place in range(frame.shape[1]):
        if frame.dtypes.iloc[place].kind not in "iufb":
            safe.isetitem(place, frame.iloc[:, place].map(_guarded).to_numpy(dtype=object))
    text: str = safe.to_csv(
        sep="\t", index=False, header=header, na_rep="n/a", float_format="%.8g", lineterminator="\n"
    )
    return text


def _guarded(value: Any) -> Any:
    return guarded(value) if isinstance(value, str) else value


def join_tsv(
    path: str | os.PathLike[str],
    tables: Iterable[tuple[Mapping[str, str | None], str | os.PathLike[str]]],
    columns: Sequence[str],
) -> Path:
    """Write tables of ours under each other, one at a time in memory, as `write_tsv` writes them together.

    Parameters
    ----------
    path : path_like
        The table to write.
    tables : iterable of (mapping, path_like)
        Values of columns that are put in front, the same for all, and a table with a column ``name``.
    columns : sequence of str
        Columns of the tables; ``n/a`` stands where one lacks some.

    Raises
    ------
    InputError
        If a table is absent or is none.
    """
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        begun = False
        for front, table in tables:
            header, *body = _rows(Path(table), ("name",))
            if not begun:
                rows.writerow([*front, *columns])
                begun = True
            first = ["n/a" if value is None else guarded(value) for value in front.values()]
            place = {name: at for at, name in enumerate(header)}
            order = [place.get(name) for name in columns]
            for row in body:
                cells = ["n/a" if at is None or row[at] in _MISSING else row[at] for at in order]
                rows.writerow([*first, *cells])
    return Path(path)


def read_beside(image: Path) -> dict[str, Any]:
    """Return what the JSON file beside an image says; empty where there is none that can be used."""
    sidecar = sidecar_of(image)
    try:
        record = read_json(sidecar) if sidecar.is_file() else {}
    except InputError:
        return {}
    return record if isinstance(record, dict) else {}


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is absent, is not JSON, or gives one key two values.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the path of a JSON file")
    try:
        return parse_json(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{file}: is not valid JSON ({error})") from None


def parse_json(text: str) -> Any:
    """Turn JSON into plain values; no key may stand twice in one object, of which Python would keep the last alone.

    Raises
    ------
    json.JSONDecodeError
        If it is no JSON.
    InputError
        If it is JSON that cannot be taken: a key twice, brackets nested too deeply, a number too long.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (json.JSONDecodeError, InputError):
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(str(error)) from None


def parse_pairs(pairs: Iterable[str], what: str) -> dict[str, Any]:
    """Turn ``["beta=0.5", "start=logit"]`` into a dict; values are JSON where they can be, else texts.

    Raises
    ------
    InputError
        If an entry has no equals sign, a name is given twice, or a value is JSON that cannot be taken.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InputError(f"{what} {pair!r} is not NAME=VALUE, such as beta=1")
        if name in found:
            raise InputError(f"{what} {name!r} is given twice, expected once; leave one out")
        try:
            found[name] = parse_json(value)
        except json.JSONDecodeError:
            found[name] = value
        except InputError as error:
            raise InputError(f"{what} {name!r}: {error}") from None
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise InputError(f"key {key!r} stands {count} times in one object, expected once; delete all but one")
    return found


def read_object(
    path: str | os.PathLike[str],
    what: str,
    needed: Mapping[str, type | tuple[type, ...]] | None = None,
    optional: Mapping[str, type | tuple[type, ...]] | None = None,
) -> dict[str, Any]:
    """Read a JSON file that is to hold an object with certain fields.

    Parameters
    ----------
    path : path_like
        The file.
    what : str
        What it is, for messages: ``"datalist"``.
    needed, optional : mapping of str to type, optional
        Fields that must be there, and those that may be absent or null; each with the type that JSON gives it.

    Raises
    ------
    InputError
        If the file is absent, is not JSON, or holds something else.
    """
    value = read_json(path)
    way_out = "restore it, or make it again"
    if not isinstance(value, dict):
        raise InputError(f"{path}: is no {what} (holds {_kind(value)}, expected an object); {way_out}")
    absent = [name for name in needed or {} if name not in value]
    if absent:
        raise InputError(f"{path}: is no {what} (has no {absent[0]!r}); {way_out}")
    for name, kind in {**(needed or {}), **(optional or {})}.items():
        found = value.get(name)
        if isinstance(found, kind) or (found is None and name not in (needed or {})):
            continue
        names = " or ".join(_KINDS.get(one, one.__name__) for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise InputError(f"{path}: is no {what} ({name!r} is {_kind(found)}, expected {names}); {way_out}")
    return value


_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS[type(value)]


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write JSON with two-space indents, keys as given; NaN is refused, as JSON has none."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        try:
            temporary.write_text(text, encoding="utf-8")
        except UnicodeEncodeError as error:
            place = text[max(error.start - 30, 0) : error.end + 30]
            raise InputError(f"{path}: cannot hold {place!a}, which is no UTF-8; rename what bears it") from None
    return Path(path)
