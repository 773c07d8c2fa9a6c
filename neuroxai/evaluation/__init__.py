"""How good a classifier and its explanations are: classification with intervals, localisation of a known truth."""

from neuroxai.evaluation.classification import RocCurve, classification_metrics, confusion, roc_points
from neuroxai.evaluation.localisation import mask_in_space, positive_density_ratio, relevance_mass
from neuroxai.evaluation.randomisation import RandomisationStep, randomisation_test
from neuroxai.statistics import Estimate, GroupMeans, TableMeans, delong, wilson

__all__ = [
    "Estimate",
    "GroupMeans",
    "RandomisationStep",
    "RocCurve",
    "TableMeans",
    "classification_metrics",
    "confusion",
    "delong",
    "mask_in_space",
    "positive_density_ratio",
    "randomisation_test",
    "relevance_mass",
    "roc_points",
    "wilson",
]
