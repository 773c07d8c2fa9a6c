"""The ``split`` command."""

from __future__ import annotations


def split() -> None:
    """Placeholder until the command lands."""
