"""What bundle configurations name by ``_target_``: thin adapters between MONAI and the rest of the package."""

from neuroxai.components.checkpoint import Checkpoints
from neuroxai.components.command_line import end_with_failures, plain_errors
from neuroxai.components.data import ScanDataset, ScanLoader, WholeLoader, collate_whole, open_part, prepare_scan
from neuroxai.components.distributed import (
    SharedBuffers,
    end_processes,
    first_process,
    local_device,
    process_count,
    process_number,
    start_processes,
)
from neuroxai.components.filters import FilterHeatmapSaver
from neuroxai.components.fit import FitCheckd
from neuroxai.components.handlers import EarlyStop, Reproducible
from neuroxai.components.heatmaps import HeatmapSaver
from neuroxai.components.inferer import AttributionInferer, FilterInferer
from neuroxai.components.loss import ClassificationLoss, class_weights
from neuroxai.components.metrics import (
    EpochFigure,
    balanced_accuracy,
    cross_entropy,
    roc_auc,
    sensitivity,
    specificity,
)
from neuroxai.components.optimisation import InverseTimeDecay, parameter_groups
from neuroxai.components.predictions import MetricSaver, PredictionSaver
from neuroxai.components.sampler import ScanSampler
from neuroxai.components.training_options import check_options, flag
from neuroxai.components.transfer import load_pretrained, pretrained_sha256
from neuroxai.components.transforms import LoadScand, NormaliseScand, RandShiftd, ToSpaced
from neuroxai.explain.shares import in_charge, join_shares, own_share
from neuroxai.explain.weights import load_weights, read_record, recorded_space

__all__ = [
    "AttributionInferer",
    "Checkpoints",
    "ClassificationLoss",
    "EarlyStop",
    "EpochFigure",
    "FilterHeatmapSaver",
    "FilterInferer",
    "FitCheckd",
    "HeatmapSaver",
    "InverseTimeDecay",
    "LoadScand",
    "MetricSaver",
    "NormaliseScand",
    "PredictionSaver",
    "RandShiftd",
    "Reproducible",
    "ScanDataset",
    "ScanLoader",
    "ScanSampler",
    "SharedBuffers",
    "ToSpaced",
    "WholeLoader",
    "balanced_accuracy",
    "check_options",
    "class_weights",
    "collate_whole",
    "cross_entropy",
    "end_processes",
    "end_with_failures",
    "first_process",
    "flag",
    "in_charge",
    "join_shares",
    "load_pretrained",
    "load_weights",
    "local_device",
    "open_part",
    "own_share",
    "parameter_groups",
    "plain_errors",
    "prepare_scan",
    "pretrained_sha256",
    "process_count",
    "process_number",
    "read_record",
    "recorded_space",
    "roc_auc",
    "sensitivity",
    "specificity",
    "start_processes",
]
