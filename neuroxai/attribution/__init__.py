"""Attribution methods by name: `complete`, `create`, `names`, `describe`, `start_of`, `takes_start`."""

from __future__ import annotations

from neuroxai.attribution.registry import complete, create, describe, names, start_of, takes_start

__all__ = ["complete", "create", "describe", "names", "start_of", "takes_start"]
