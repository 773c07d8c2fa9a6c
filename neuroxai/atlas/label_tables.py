"""Tables that name an atlas's labels, in any of the usual formats, told apart by content; XML is read here."""

from __future__ import annotations

import codecs
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from neuroxai.atlas.label_fit import Fit, Places, Reading, Row, fit, names_of, some
from neuroxai.atlas.label_text import readings_of
from neuroxai.atlas.sides import is_background, is_no_region
from neuroxai.errors import InputError


def read_xml(text: str, values: list[int], places: Places = dict) -> tuple[str, Fit] | None:
    """Read a table of labels in XML.

    Parameters
    ----------
    text : str
        The whole file.
    values : list of int
        The image's values above 0, sorted.
    places : callable, optional
        Gives the centre of each label in mm.

    Returns
    -------
    (str, Fit) or None
        The format's name and the names; None if the text is no such XML.

    Raises
    ------
    InputError
        If it is not valid XML, or cannot explain the image.
    """
    if not text.lstrip().startswith("<"):
        return None
    if "<label" in text and "<index>" in text:
        rows = [Row(e.findtext("index", ""), e.findtext("name", "")) for e in _root(text).iter("label")]
        return "SPM XML", fit([Reading(tuple(rows))], values, places)
    if re.search(r"<label[^>]*\sindex=", text):
        return "FSL XML", _fsl(_root(text), values)
    if re.search(r"<Structure[^>]*\sgrayvalue=", text):
        rows = [Row(e.get("grayvalue", ""), "".join(e.itertext())) for e in _root(text).iter("Structure")]
        return "Julich-Brain XML", fit([Reading(tuple(rows))], values, places)
    return None


def _fsl(root: ElementTree.Element, values: list[int]) -> Fit:
    labels = [(label.get("index", ""), "".join(label.itertext()), label.get("value")) for label in root.iter("label")]
    names = names_of([Row(index, name) for index, name, _ in labels])
    if all(value for _, _, value in labels):
        given = fit([Reading(tuple(Row(value or "", name) for _, name, value in labels))], values)
        return Fit(given.names, "value as given by the XML")
    kind = (root.findtext("header/type") or "").strip().lower()
    background = 0 in names and (is_background(names[0]) or (kind == "label" and is_no_region(names[0])))
    if background or kind == "label":
        offset = 0
        why = f"index 0 is {names[0]!r}" if background else "type Label"
    elif kind.startswith(("probabilistic", "probabalistic")):  # Mango's atlases misspell it
        offset, why = 1, "maximum-probability image, type Probabilistic"
    else:
        raise InputError(
            f"the XML's type is {kind!r}, expected Probabilistic (value = index + 1) or Label (value = index); "
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
    return Fit({index + offset: name for index, name in names.items()}, rule)


def _root(text: str) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError("the XML declares a document type or entities, which label tables do not need; remove them")
    try:
        # the declared encoding no longer holds for decoded text
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))  # noqa: S314
    except ElementTree.ParseError as error:
        raise InputError(f"is not valid XML ({error}); fetch the table again from its source") from None


__all__ = ["LabelTable", "read_table", "some"]

# FreeSurfer's table of all that it knows has 0.1 MB
MOST_BYTES = 2**22
_KNOWN = (
    "FSL XML, SPM XML, Julich-Brain XML, tables with a header (BIDS dseg.tsv, CAT12, FastSurfer, Slicer), colour "
    "tables of FreeSurfer, FSLeyes, MRtrix and Slicer, ITK-SNAP and workbench lists, "
    "and text with an index and a name a line"
)


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
    shifted : bool
        The table turned out to count from 0 where the image counts from 1.
    by_places : bool
        The places of the labels settled how the table is read, and not their values.
    """

    names: dict[int, str]
    rule: str
    general: bool = False
    shifted: bool = False
    by_places: bool = False


def read_table(path: str | os.PathLike[str], values: list[int], places: Places = dict) -> LabelTable:
    """Read a label table of any known format.

    Parameters
    ----------
    path : path_like
        The table.
    values : list of int
        The image's values above 0, sorted; they settle which column is the index and whether it counts from 0 or 1.
    places : callable, optional
        Gives the centre of each label in mm: what the values leave open, the sides that names say may settle.

    Raises
    ------
    InputError
        If the file is absent or in no known format, gives one value two names, or can be read in two ways between which
        the image does not decide.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such label table; give a .tsv, .xml or .txt file, or none")
    if file.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{file}: has {file.stat().st_size} bytes, expected at most {MOST_BYTES} for a label table; "
            "give the table of names"
        )
    try:
        form, chosen = _read(_decoded(file.read_bytes()), values, places)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return LabelTable(chosen.names, f"{form}, {chosen.words}", chosen.general, chosen.shifted, chosen.by_places)


def _read(text: str, values: list[int], places: Places) -> tuple[str, Fit]:
    found = read_xml(text, values, places)
    if found:
        return found
    if text.lstrip().startswith(("{", "[{")):
        return "JSON", fit([_json(text)], values, places)
    form, readings = readings_of(text, values)
    if not form:
        raise InputError(
            f"is in no known format of label tables; known are {_KNOWN}. "
            "The simplest is text with an index and a name a line"
        )
    return form, fit(readings, values, places)


def _decoded(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(f"is no text ({error}); export the table again") from None
    if b"\0" in raw:
        raise InputError("is no text but holds NUL bytes; give the label table, not the image")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # FSL and SPM write ISO-8859-1
        return raw.decode("latin-1")


def _json(text: str) -> Reading:
    def pairs(items: list[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
        return tuple(items)

    try:
        items = json.loads(text, object_pairs_hook=pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"is not valid JSON ({error}); correct it") from None
    if isinstance(items, list):  # of rows; an object is a tuple
        items = ()
    if items and all(isinstance(value, str) for _, value in items):
        return Reading(tuple(Row(key, value) for key, value in items))
    if items and all(isinstance(value, int) and not isinstance(value, bool) for _, value in items):
        return Reading(tuple(Row(str(value), key) for key, value in items))
    raise InputError('the JSON gives no name for each index; write {"1": "Left caudate", ...}, or give a table as text')
