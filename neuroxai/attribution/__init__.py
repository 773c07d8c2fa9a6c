"""Attribution methods by name: `create`, `names`, `describe`, `takes_start`."""

from __future__ import annotations

from neuroxai.attribution.registry import create, describe, names, takes_start

__all__ = ["create", "describe", "names", "takes_start"]
