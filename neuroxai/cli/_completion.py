"""What the shell offers after an option; nothing heavy is imported for it."""

from __future__ import annotations


def methods(incomplete: str) -> list[str]:
    """Attribution methods that begin so."""
    from neuroxai.attribution import names

    return [name for name in names() if name.startswith(incomplete)]


def atlases(incomplete: str) -> list[str]:
    """Named atlases that begin so."""
    from neuroxai.atlas import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Studies of the package that begin so."""
    from neuroxai.studies import names

    return [name for name in names() if name.startswith(incomplete)]
