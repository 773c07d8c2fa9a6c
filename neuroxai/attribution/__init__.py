"""Attribution methods by name: `create`, `names`, `describe`."""

from __future__ import annotations

from neuroxai.attribution.registry import create, describe, names

__all__ = ["create", "describe", "names"]
