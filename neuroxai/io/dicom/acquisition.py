"""What a provenance file may say of a DICOM series: the measurement, never the person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroxai.io.dicom.cleaning import compression
from neuroxai.io.dicom.opening import value_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# BIDS name: keyword at the top, functional group and keyword of enhanced files, factor to BIDS's unit. A list of what
# may pass, not of what may not. Descriptions and protocol names are free text and stay out.
_NUMBERS: dict[str, tuple[str, str, str, float]] = {
    "MagneticFieldStrength": ("MagneticFieldStrength", "", "", 1.0),
    "RepetitionTime": ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime", 1e-3),
    "EchoTime": ("EchoTime", "MREchoSequence", "EffectiveEchoTime", 1e-3),
    "InversionTime": ("InversionTime", "MRModifierSequence", "InversionTimes", 1e-3),
    "FlipAngle": ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle", 1.0),
    "SliceThickness": ("SliceThickness", "PixelMeasuresSequence", "SliceThickness", 1.0),
}
_WORDS = {
    "SeriesInstanceUID": "SeriesInstanceUID",
    "Modality": "Modality",
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "SoftwareVersions": "SoftwareVersions",
    "MRAcquisitionType": "MRAcquisitionType",
}


def acquisition_of(header: Dataset) -> dict[str, Any]:
    """Return what is known of the measurement, under BIDS's names: seconds, tesla, degrees, mm.

    Parameters
    ----------
    header : Dataset
        Of any image of the series.
    """
    acquisition: dict[str, Any] = {}
    for name, keyword in _WORDS.items():
        value = value_of(header, keyword)
        if value not in (None, ""):
            acquisition[name] = str(value) if isinstance(value, str) else "\\".join(str(part) for part in value)
    for name, (keyword, group, inner, factor) in _NUMBERS.items():
        value = value_of(header, keyword)
        for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            held = value_of(header, sequence)
            if value in (None, "") and group and held:
                holder = held[0].get(group)
                value = value_of(holder[0], inner) if holder else None
        try:
            # several inversion times: the first
            acquisition[name] = round(float(value if not hasattr(value, "__len__") else value[0]) * factor, 9)
        except (TypeError, ValueError, IndexError):
            continue
    if compression(header):
        acquisition["LossyImageCompression"] = True
    return acquisition
