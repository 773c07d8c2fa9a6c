"""DICOM in: the only place that knows it. What identifies a patient is neither returned nor written anywhere."""

from neuroxai.io.dicom.read import read_series
from neuroxai.io.dicom.series import Series, chosen, list_series, series_digest

__all__ = ["Series", "chosen", "list_series", "read_series", "series_digest"]
