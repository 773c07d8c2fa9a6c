"""The ``report`` command."""

from __future__ import annotations


def report() -> None:
    """Placeholder until the command lands."""
