"""What the objects beside a series take over from it: read leniently, handed on only as DICOM allows.

Real headers hold dates of day 0, times with colons, character sets misspelled, and words where codes belong. A value
that is not valid is left empty and reported by its keyword: an identity cut short or guessed would be another's.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError
from neuroxai.io.dicom.opening import BROKEN, value_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CHARACTERS = "ISO_IR 192"  # UTF-8 holds what any source's character set holds
# baseline and extended JPEG; JPEG-LS and JPEG 2000, which have a lossless mode under the same name
_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_MAY_BE_LOSSY = ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}


def uid_of(header: Dataset, keyword: str) -> str:
    """Return an identifier as it stands, leading zeros of its parts too; empty where it is absent.

    Raises
    ------
    InputError
        If it is none: a reference to it would lead nowhere.
    """
    text = str(value_of(header, keyword) or "").strip(" \0")
    if text and not is_uid(text):
        raise InputError(
            f"{keyword} is {text[:80]!r}, expected numbers with dots between, at most 64 letters, such as 1.2.840.113; "
            "export the series again"
        )
    return text


def is_uid(text: str) -> bool:
    """Say whether a text is an identifier; zeros that lead a part are suffered, as they stand in archives."""
    return len(text) <= 64 and re.fullmatch(r"[0-2](\.\d+)+", text) is not None


def cleaned(header: Dataset) -> tuple[Dataset, list[str]]:
    """Return what describes patient, study and scanner, valid, and the keywords of what was not.

    Parameters
    ----------
    header : Dataset
        Of any image of the series.

    Returns
    -------
    made : Dataset
        Attributes of type 2 are there, empty at worst.
    left : list of str
        Attributes whose value the objects cannot bear.
    """
    from pydicom.dataset import Dataset

    made, left = Dataset(), []
    made.SpecificCharacterSet = CHARACTERS
    declared = _declares_characters(header)
    for keyword, (read, required) in _TAKEN.items():
        raw = value_of(header, keyword)
        given = [_decoded(part, declared) for part in ([raw] if _single(raw) else raw)]
        if keyword not in _SEVERAL and len(given) > 1:
            given = [None]
        values = [None if part is None else (read(part) if part else "") for part in given]
        whole = [part for part in values if part is not None]
        if len(whole) < len(values) or (keyword in header and raw is None and not _empty(header, keyword)):
            left.append(keyword)
            whole = []
        if any(whole):
            setattr(made, keyword, whole if len(whole) > 1 else whole[0])
        elif required:
            setattr(made, keyword, "")
    if not made.get("StudyDate"):
        made.StudyTime = ""
    if str(value_of(header, "PatientIdentityRemoved") or "").strip().upper() == "YES":
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = made.get("DeidentificationMethod") or "as the series"
    elif "DeidentificationMethod" in made:
        del made.DeidentificationMethod
    return made, left


def compression(header: Dataset) -> dict[str, Any]:
    """Return what a header says of lossy compression, by keyword; empty where none is known.

    Ratio and method are the header's, or left out: a value that is not valid is not replaced.
    """
    from pydicom.valuerep import DS

    said = str(value_of(header, "LossyImageCompression") or "").strip()
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    if not (said in ("01", "1", "YES") or syntax in _LOSSY or (said != "00" and syntax in _MAY_BE_LOSSY)):
        return {}
    found: dict[str, Any] = {"LossyImageCompression": "01"}
    raw = value_of(header, "LossyImageCompressionRatio")
    try:
        ratios = [float(ratio) for ratio in ([raw] if _single(raw) else raw)]
    except (TypeError, ValueError):
        ratios = []
    if ratios and all(0 < ratio < 1e6 for ratio in ratios):
        found["LossyImageCompressionRatio"] = [DS(ratio, auto_format=True) for ratio in ratios]
    raw = value_of(header, "LossyImageCompressionMethod")
    methods = [str(method) for method in ([raw] if _single(raw) else raw)]
    if all(re.fullmatch(r"[A-Z0-9_][A-Z0-9_ ]{0,15}", method) for method in methods):
        found["LossyImageCompressionMethod"] = methods
    return found


def _single(raw: Any) -> bool:
    return raw is None or isinstance(raw, str) or not hasattr(raw, "__iter__") or hasattr(raw, "components")


def _empty(header: Dataset, keyword: str) -> bool:
    # the element as it was read, whose value was not yet interpreted
    return not getattr(header.get_item(keyword), "value", None)


def _declares_characters(header: Dataset) -> bool:
    """Say whether the header names a character set beyond ASCII that pydicom knows."""
    from pydicom import charset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = charset.convert_encodings(value_of(header, "SpecificCharacterSet") or "")
        except BROKEN:
            return False
    return any(encoding != charset.default_encoding for encoding in found)


def _decoded(raw: Any, declared: bool) -> str | None:
    """Return text in one line; None where letters were lost, or cannot be known."""
    text = "" if raw is None else str(raw).strip(" \0")
    if not declared and not text.isascii():
        try:
            # pydicom took the bytes for Latin 1; other letters make valid UTF-8 only by being that
            text = text.encode("latin-1").decode("utf-8")
        except UnicodeError:
            return None
    if any(letter in "\ufffd\x1b" or unicodedata.category(letter) == "Cs" for letter in text):
        return None
    return " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).split())


def _text(most: int) -> Callable[[str], str | None]:
    return lambda text: text if len(text) <= most and "\\" not in text else None


def _name(text: str) -> str | None:
    groups = text.split("=")
    fits = len(groups) <= 3 and all(len(group) <= 64 and group.count("^") <= 4 for group in groups)
    return text if fits and "\\" not in text else None


def day_of(text: str) -> str | None:
    """Return a date as YYYYMMDD, from that or with points, hyphens or slashes between; None if there is no such day."""
    found = re.fullmatch(r"(\d{4})([-./]?)(\d\d)\2(\d\d)", text)
    try:
        return None if found is None else datetime(int(found[1]), int(found[3]), int(found[4])).strftime("%Y%m%d")
    except ValueError:
        return None


def time_of(text: str) -> str | None:
    """Return a time as HHMMSS and fraction, from that or with colons; None if there is no such time."""
    found = re.fullmatch(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?", text)
    if found is None or int(found[1]) > 23 or int(found[2] or 0) > 59 or int(found[3] or 0) > 59:
        return None
    return f"{found[1]}{found[2] or '00'}{found[3] or '00'}" + (f".{found[4][:6]}" if found[4] else "")


def _sex(text: str) -> str | None:
    return _SEXES.get(text.upper())


def _age(text: str) -> str | None:
    return text if re.fullmatch(r"\d{3}[DWMY]", text) else None


def _measure(text: str) -> str | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return f"{number:.6g}" if 0 < number < 1e4 else None


# keyword: how it is read, and whether it must be there (type 2)
_TAKEN: dict[str, tuple[Callable[[str], str | None], bool]] = {
    "PatientName": (_name, True),
    "PatientID": (_text(64), True),
    "IssuerOfPatientID": (_text(64), False),
    "PatientBirthDate": (day_of, True),
    "PatientSex": (_sex, True),
    "PatientAge": (_age, False),
    "PatientSize": (_measure, False),
    "PatientWeight": (_measure, False),
    "DeidentificationMethod": (_text(64), False),
    "StudyDate": (day_of, True),
    "StudyTime": (time_of, True),
    "StudyID": (_text(16), True),
    "StudyDescription": (_text(64), False),
    "AccessionNumber": (_text(16), True),
    "ReferringPhysicianName": (_name, True),
    "SeriesDate": (day_of, False),
    "SeriesTime": (time_of, False),
    "PositionReferenceIndicator": (_text(64), False),
    "Manufacturer": (_text(64), False),
    "ManufacturerModelName": (_text(64), False),
    "DeviceSerialNumber": (_text(64), False),
    "SoftwareVersions": (_text(64), False),
    "InstitutionName": (_text(64), False),
    "StationName": (_text(16), False),
}
_SEVERAL = ("SoftwareVersions", "DeidentificationMethod")
