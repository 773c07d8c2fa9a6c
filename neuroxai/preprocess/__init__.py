"""From a scanner's file to a network's input and back: registration, lesion filling, quality checks."""

from neuroxai.preprocess.batch import BatchOptions, PreparedScan, PrepareSummary, prepare_cohort, prepare_one
from neuroxai.preprocess.lesions import fill_lesions
from neuroxai.preprocess.mapping import Mapping, Native, native_of
from neuroxai.preprocess.options import PrepareOptions, choose
from neuroxai.preprocess.sources import SingleScan, Source, find_sources

__all__ = [
    "BatchOptions",
    "Mapping",
    "Native",
    "PrepareOptions",
    "PrepareSummary",
    "PreparedScan",
    "SingleScan",
    "Source",
    "choose",
    "fill_lesions",
    "find_sources",
    "native_of",
    "prepare_cohort",
    "prepare_one",
]
