"""What bundle configurations name by ``_target_``: thin adapters between MONAI and the rest of the package."""

from neuroxai.components.checkpoint import Checkpoints
from neuroxai.components.command_line import plain_errors
from neuroxai.components.data import ScanDataset, ScanLoader, open_part, prepare_scan
from neuroxai.components.handlers import EarlyStop, Reproducible
from neuroxai.components.heatmaps import HeatmapSaver
from neuroxai.components.inferer import AttributionInferer
from neuroxai.components.metrics import balanced_accuracy, cross_entropy, roc_auc, sensitivity, specificity
from neuroxai.components.predictions import MetricSaver, PredictionSaver
from neuroxai.components.transforms import LoadScand, NormaliseScand, RandShiftd, ToSpaced
from neuroxai.components.weights import load_weights, read_record, recorded_space

__all__ = [
    "AttributionInferer",
    "Checkpoints",
    "EarlyStop",
    "HeatmapSaver",
    "LoadScand",
    "MetricSaver",
    "NormaliseScand",
    "PredictionSaver",
    "RandShiftd",
    "Reproducible",
    "ScanDataset",
    "ScanLoader",
    "ToSpaced",
    "balanced_accuracy",
    "cross_entropy",
    "load_weights",
    "open_part",
    "plain_errors",
    "prepare_scan",
    "read_record",
    "recorded_space",
    "roc_auc",
    "sensitivity",
    "specificity",
]
