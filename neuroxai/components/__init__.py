"""What bundle configurations name by ``_target_``: thin adapters between MONAI and the rest of the package."""

from neuroxai.components.checkpoint import CheckpointHandler
from neuroxai.components.command_line import end_with_failures, plain_errors
from neuroxai.components.data import ScanDataset, ScanLoader, WholeLoader, collate_whole, open_part, prepare_scan
from neuroxai.components.distributed import (
    SharedBuffers,
    end_processes,
    local_device,
    process_count,
    process_number,
    start_processes,
)
from neuroxai.components.filters import FilterHeatmapSaver
from neuroxai.components.fit import FitCheckd
from neuroxai.components.guidance import RelevanceGuidance, RelevanceMaskd
from neuroxai.components.handlers import EarlyStopHandler, SeedHandler
from neuroxai.components.heatmaps import HeatmapSaver
from neuroxai.components.inferer import AttributionInferer, FilterInferer
from neuroxai.components.loss import ClassificationLoss, class_weights
from neuroxai.components.memory import KeptMemoryHandler
from neuroxai.components.metrics import (
    EpochMetric,
    balanced_accuracy,
    cross_entropy,
    roc_auc,
    sensitivity,
    specificity,
)
from neuroxai.components.optimisation import InverseTimeDecay, parameter_groups
from neuroxai.components.predictions import MetricSaver, PredictionSaver
from neuroxai.components.sampler import ScanSampler, pair_column
from neuroxai.components.training_options import check_options, flag
from neuroxai.components.transfer import load_pretrained, pretrained_sha256
from neuroxai.components.transforms import LoadScand, NormaliseScand, RandShiftd, ResampleToSpaced
from neuroxai.explain.controls import bundle_method, bundle_options, load_controls
from neuroxai.explain.sharding import is_main_process, join_shares, shard_of
from neuroxai.explain.weights import load_weights, read_record, recorded_space

__all__ = [
    "AttributionInferer",
    "CheckpointHandler",
    "ClassificationLoss",
    "EarlyStopHandler",
    "EpochMetric",
    "FilterHeatmapSaver",
    "FilterInferer",
    "FitCheckd",
    "HeatmapSaver",
    "InverseTimeDecay",
    "KeptMemoryHandler",
    "LoadScand",
    "MetricSaver",
    "NormaliseScand",
    "PredictionSaver",
    "RandShiftd",
    "RelevanceGuidance",
    "RelevanceMaskd",
    "ResampleToSpaced",
    "ScanDataset",
    "ScanLoader",
    "ScanSampler",
    "SeedHandler",
    "SharedBuffers",
    "WholeLoader",
    "balanced_accuracy",
    "bundle_method",
    "bundle_options",
    "check_options",
    "class_weights",
    "collate_whole",
    "cross_entropy",
    "end_processes",
    "end_with_failures",
    "flag",
    "is_main_process",
    "join_shares",
    "load_controls",
    "load_pretrained",
    "load_weights",
    "local_device",
    "open_part",
    "pair_column",
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
    "shard_of",
    "specificity",
    "start_processes",
]
