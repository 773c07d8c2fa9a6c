"""Classify structural brain MRI with 3D networks and explain every decision.

Sub-packages are imported on first use, so that ``import neuroxai`` stays fast and pulls in no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neuroxai._version import __version__

if TYPE_CHECKING:
    from neuroxai import (
        atlas,
        attribution,
        cohort,
        compare,
        evaluation,
        explain,
        io,
        layers,
        lrp,
        networks,
        report,
        simulate,
        space,
        statistics,
    )
    from neuroxai.explain import open_bundle

__all__ = [
    "__version__",
    "atlas",
    "attribution",
    "cohort",
    "compare",
    "evaluation",
    "explain",
    "io",
    "layers",
    "lrp",
    "networks",
    "open_bundle",
    "report",
    "simulate",
    "space",
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name == "open_bundle":
        return importlib.import_module("neuroxai.explain").open_bundle
    if name in __all__:
        return importlib.import_module(f"neuroxai.{name}")
    raise AttributeError(f"module 'neuroxai' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
