"""Label tables as XML: FSL's (and Mango's), SPM's, and that of the Julich-Brain atlas."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from neuroxai.atlas.label_fit import Fit, Reading, Row, fit, names_of, some
from neuroxai.atlas.label_places import Places
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
