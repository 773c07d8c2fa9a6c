"""Attribution methods by name: `create`, `names`, `describe`, `start_of`, `takes_start`."""

from __future__ import annotations

from neuroxai.attribution.registry import create, describe, names, start_of, takes_start

__all__ = ["create", "describe", "names", "start_of", "takes_start"]
