"""The intervals of `neuroxai.statistics`, under the name they had here."""

from neuroxai.statistics.intervals import (
    Estimate,
    Interval,
    critical_value,
    mean_of_proportions,
    subject_weights,
    wilson,
)
from neuroxai.statistics.roc import delong, newcombe_area, roc_area_interval, weighted_areas

__all__ = [
    "Estimate",
    "Interval",
    "critical_value",
    "delong",
    "mean_of_proportions",
    "newcombe_area",
    "roc_area_interval",
    "subject_weights",
    "weighted_areas",
    "wilson",
]
