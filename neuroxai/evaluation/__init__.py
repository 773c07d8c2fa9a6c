"""How good a classifier and its explanations are: intervals, known truth, faithfulness, robustness."""

from neuroxai.evaluation.baselines import Baseline, SvmOptions, lesion_load, svm_baseline, svm_holdout
from neuroxai.evaluation.classification import RocCurve, classification_metrics, confusion, roc_points
from neuroxai.evaluation.heatmaps.faithfulness import (
    Curve,
    Faithfulness,
    Order,
    faithfulness_test,
    perturbation_curve,
    region_order,
    voxel_order,
)
from neuroxai.evaluation.heatmaps.known_truth import KnownTruth
from neuroxai.evaluation.heatmaps.localisation import (
    chance_level,
    localisation_metrics,
    outside_share,
    pointing_game,
    positive_density_ratio,
    reference_agreement,
    relevance_mass,
    top_intersection,
    voxel_areas,
    with_tolerance,
)
from neuroxai.evaluation.heatmaps.randomisation import MapComparison, RandomisationStep, randomisation_test
from neuroxai.evaluation.heatmaps.robustness import Agreement, Ensemble, Sensitivity, agreement, max_sensitivity
from neuroxai.evaluation.heatmaps.trust import Trust, measure_trust
from neuroxai.evaluation.heatmaps.twin_swap import swap_agreement, swap_effects
from neuroxai.masks import mask_in_space
from neuroxai.statistics import Estimate, GroupMeans, TableMeans, delong, wilson

__all__ = [
    "Agreement",
    "Baseline",
    "Curve",
    "Ensemble",
    "Estimate",
    "Faithfulness",
    "GroupMeans",
    "KnownTruth",
    "MapComparison",
    "Order",
    "RandomisationStep",
    "RocCurve",
    "Sensitivity",
    "SvmOptions",
    "TableMeans",
    "Trust",
    "agreement",
    "chance_level",
    "classification_metrics",
    "confusion",
    "delong",
    "faithfulness_test",
    "lesion_load",
    "localisation_metrics",
    "mask_in_space",
    "max_sensitivity",
    "measure_trust",
    "outside_share",
    "perturbation_curve",
    "pointing_game",
    "positive_density_ratio",
    "randomisation_test",
    "reference_agreement",
    "region_order",
    "relevance_mass",
    "roc_points",
    "svm_baseline",
    "svm_holdout",
    "swap_agreement",
    "swap_effects",
    "top_intersection",
    "voxel_areas",
    "voxel_order",
    "wilson",
    "with_tolerance",
]
