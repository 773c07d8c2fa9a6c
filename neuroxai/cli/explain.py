"""The ``explain`` command."""

from __future__ import annotations


def explain() -> None:
    """Placeholder until the command lands."""
