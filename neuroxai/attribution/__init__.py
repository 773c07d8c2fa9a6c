"""Attribution methods by name (`create`, `names`, `describe`, ...), and controls to hold a scan against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroxai.attribution.registry import (
    complete,
    create,
    describe,
    names,
    takes_baselines,
    takes_regions,
    takes_start,
)

if TYPE_CHECKING:
    from neuroxai.attribution.controls import ControlReference

__all__ = [
    "ControlReference",
    "complete",
    "create",
    "describe",
    "names",
    "takes_baselines",
    "takes_regions",
    "takes_start",
]


def __getattr__(name: str) -> Any:
    if name == "ControlReference":  # torch is slow to import, and the names of methods need none
        from neuroxai.attribution.controls import ControlReference

        return ControlReference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
