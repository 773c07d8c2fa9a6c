"""From a scanner's file to a network's input and back: registration arms, lesion filling, quality checks."""

from neuroxai.preprocess.cohort import PrepareSummary, prepare_cohort
from neuroxai.preprocess.lesion_filling import fill_lesions
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.native import Native, native_of
from neuroxai.preprocess.one import PreparedScan, prepare_one
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
