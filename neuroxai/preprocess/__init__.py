"""From a scanner's file to a network's input and back: registration arms, lesion filling, quality checks."""

from neuroxai.preprocess.batch import PreparedScan, PrepareSummary, prepare_cohort, prepare_one
from neuroxai.preprocess.lesions import fill_lesions
from neuroxai.preprocess.mapping import Mapping, Native, native_of
from neuroxai.preprocess.options import PrepareOptions, choose
from neuroxai.preprocess.sources import Source, find_sources

__all__ = [
    "Mapping",
    "Native",
    "PrepareOptions",
    "PrepareSummary",
    "PreparedScan",
    "Source",
    "choose",
    "fill_lesions",
    "find_sources",
    "native_of",
    "prepare_cohort",
    "prepare_one",
]
