"""The ``predict`` command."""

from __future__ import annotations


def predict() -> None:
    """Placeholder until the command lands."""
