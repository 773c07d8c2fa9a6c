"""Tables that name an atlas's labels: one reader a format, one registry, chosen by content."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from neuroxai.atlas.sides import is_background
from neuroxai.errors import InputError

_ITK_SNAP = re.compile(r'\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.eE+-]+\s+\d+\s+\d+\s+"(.*)"\s*$')
_FREESURFER = re.compile(r"\s*(\d+)\s+(\S.*?)\s+\d+\s+\d+\s+\d+\s+\d+\s*$")
_PLAIN = re.compile(r"\s*(\d+)\s*[\s,;:=]\s*(\S.*?)\s*$")


@dataclass(frozen=True)
class LabelTable:
    """Names by image value, and how the values were found.

    Parameters
    ----------
    names : dict of int to str
        One name a value; background included if the table names it.
    rule : str
        How a value follows from the table, in words.
    general : bool
        The table names what any image might hold (a FreeSurfer colour table), not this atlas alone.
    """

    names: dict[int, str]
    rule: str
    general: bool = False


@dataclass(frozen=True)
class TableFormat:
    """A format of label tables.

    Parameters
    ----------
    name : str
        For messages.
    matches : callable
        Takes the text, tells whether it is in this format.
    read : callable
        Takes the text and the sorted image values above 0, returns a `LabelTable`.
    """

    name: str
    matches: Callable[[str], bool]
    read: Callable[[str, list[int]], LabelTable]


def read_table(path: str | os.PathLike[str], values: list[int]) -> LabelTable:
    """Read a label table of any known format.

    Parameters
    ----------
    path : path_like
        The table.
    values : list of int
        The image's values above 0, sorted; some formats need them to settle how indices are counted.

    Raises
    ------
    InputError
        If the file is absent or in no known format, or gives one value two names.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such label table; give a .tsv, .xml or .txt file, or none")
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # FSL and SPM write ISO-8859-1
        text = raw.decode("latin-1")
    for form in FORMATS:
        if form.matches(text):
            try:
                table = form.read(text, values)
            except InputError as error:
                raise InputError(f"{file}: {error}") from None
            return LabelTable(table.names, f"{form.name}, {table.rule}", table.general)
    raise InputError(
        f"{file}: is in no known format of label tables; known are {', '.join(f.name for f in FORMATS)}. "
        "The simplest is text with an index and a name a line"
    )


def _read_spm(text: str, values: list[int]) -> LabelTable:
    rows = [(label.findtext("index", ""), label.findtext("name", "")) for label in _xml(text).iter("label")]
    return LabelTable(_table(rows), "value = index")


def _read_fsl(text: str, values: list[int]) -> LabelTable:
    root = _xml(text)
    rows = [(label.get("index", ""), "".join(label.itertext())) for label in root.iter("label")]
    names = _table(rows)
    given = {label.get("index", ""): label.get("value") for label in root.iter("label")}
    if all(given.values()):
        return LabelTable(_table([(given[i] or "", n) for i, n in rows]), "value as given by the XML")
    kind = (root.findtext("header/type") or "").strip().lower()
    background = 0 in names and is_background(names[0])
    if background or kind == "label":
        offset = 0
        why = f"index 0 is {names[0]!r}" if background else "type Label"
    elif kind.startswith("probabilistic"):
        offset, why = 1, "maximum-probability image, type Probabilistic"
    else:
        raise InputError(
            f"the XML's type is {kind!r}, wanted Probabilistic (value = index + 1) or Label (value = index); "
            "correct <type>, or give the names as text with a value and a name a line"
        )
    unexplained = sorted(set(values) - {index + offset for index in names})
    if unexplained:
        rule = "value = index + 1" if offset else "value = index"
        raise InputError(
            f"by the rule {rule} ({why}) the labels {some(unexplained)} of the image have no name; the XML lists "
            f"indices {min(names)} to {max(names)}. Give the names as text with a value and a name a line"
        )
    if 0 in names and not offset and not background:
        # the value 0 is background; a region named there has no voxels of its own
        raise InputError(
            f"index 0 is the region {names[0]!r} in an XML of type Label, but value 0 is the image's background; "
            "give the names as text with a value and a name a line"
        )
    rule = f"value = index + 1 ({why})" if offset else f"value = index ({why})"
    return LabelTable({index + offset: name for index, name in names.items()}, rule)


def _read_itk_snap(text: str, values: list[int]) -> LabelTable:
    return LabelTable(_table([m.groups() for m in map(_ITK_SNAP.match, _lines(text)) if m]), "value = index")


def _read_freesurfer(text: str, values: list[int]) -> LabelTable:
    rows = [m.groups() for m in map(_FREESURFER.match, _lines(text)) if m]
    return LabelTable(_table(rows), "value = index", general=True)


def _read_columns(text: str, values: list[int]) -> LabelTable:
    lines = text.strip().splitlines()
    header, separator = _header(lines[0])
    rows = list(csv.reader(lines[1:], delimiter=separator))
    at, name_at = header.index("index"), header.index("name")
    short = [i for i, row in enumerate(rows, start=2) if row and len(row) <= max(at, name_at)]
    if short:
        raise InputError(f"line {short[0]} has fewer columns than the header ({', '.join(header)})")
    return LabelTable(_table([(row[at], row[name_at]) for row in rows if row]), "value = index")


def _read_plain(text: str, values: list[int]) -> LabelTable:
    return LabelTable(_table([m.groups() for m in map(_PLAIN.match, _lines(text)) if m]), "value = index")


def _is_xml(text: str) -> bool:
    return text.lstrip().startswith("<") and "<label" in text


def _every(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    def matches(text: str) -> bool:
        lines = _lines(text)
        return bool(lines) and all(pattern.match(line) for line in lines)

    return matches


# The first that matches reads: the stricter forms stand before "an index and a name a line", which would take them all.
FORMATS = (
    TableFormat("SPM XML", lambda t: _is_xml(t) and "<index>" in t, _read_spm),
    TableFormat("FSL XML", lambda t: _is_xml(t) and re.search(r"<label[^>]*\sindex=", t) is not None, _read_fsl),
    TableFormat("ITK-SNAP labels", _every(_ITK_SNAP), _read_itk_snap),
    TableFormat("BIDS dseg table", lambda t: {"index", "name"} <= set(_header(t.strip())[0]), _read_columns),
    TableFormat("FreeSurfer colour table", _every(_FREESURFER), _read_freesurfer),
    TableFormat("index-name text", _every(_PLAIN), _read_plain),
)


def _xml(text: str) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError("the XML declares a document type or entities, which label tables do not need; remove them")
    try:
        # the declared encoding no longer holds for decoded text
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))  # noqa: S314
    except ElementTree.ParseError as error:
        raise InputError(f"is not valid XML ({error}); fetch the table again from its source") from None


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "%", "//"))]


def _header(text: str) -> tuple[list[str], str]:
    line = text.splitlines()[0] if text else ""
    separator = "\t" if "\t" in line else ","
    return [cell.strip().strip('"').lower() for cell in line.split(separator)], separator


def _table(rows: Sequence[tuple[str | None, ...]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, name in rows:
        text = re.sub(r"\s+", " ", name or "").strip()
        try:
            number = float(index or "")
            value = int(number)
        except (ValueError, OverflowError):
            raise InputError(f"index {index!r} (named {text!r}) is not a whole number; correct it") from None
        if value != number or value < 0:
            raise InputError(f"index {index!r} (named {text!r}) is not a whole number from 0; correct it")
        if names.get(value, text) != text:
            raise InputError(f"index {value} has two names, {names[value]!r} and {text!r}; remove one")
        names[value] = text
    if not names:
        raise InputError("lists no label; is the table empty?")
    return names


def some(values: Sequence[object], most: int = 8) -> str:
    """List the first few values for a message."""
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "")
