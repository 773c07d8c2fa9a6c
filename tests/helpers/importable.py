"""Whether a package is there and works: torchvision raises more than an ImportError beside another build of PyTorch."""

from __future__ import annotations

from importlib import import_module


def importable(name: str) -> bool:
    """Import it."""
    try:
        import_module(name)
    except Exception:
        return False
    return True
