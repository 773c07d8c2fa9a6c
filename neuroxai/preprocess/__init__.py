"""From a scanner's file to a network's input and back: registration, lesion filling, quality checks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# explaining a scan takes a mapping and no registration: each name's module is imported when it is asked for
_MODULES = {
    "BatchOptions": "batch",
    "Mapping": "mapping",
    "Native": "mapping",
    "PrepareOptions": "options",
    "PrepareSummary": "batch",
    "PreparedScan": "batch",
    "SingleScan": "sources",
    "Source": "sources",
    "choose": "options",
    "fill_lesions": "lesions",
    "find_sources": "sources",
    "native_of": "mapping",
    "prepare_cohort": "batch",
    "prepare_one": "batch",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
