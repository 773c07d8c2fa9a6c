"""What is made of a study's runs, by name: one module or package a study, each with ``analyse`` and ``check``.

``analyse(results)`` returns `neuroxai.studies.findings.Findings`; ``check(study)`` raises `InputError` before any
training where the declaration lacks what the analysis needs (arms by name, explanations, options).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from neuroxai.errors import one_of


def names() -> list[str]:
    """Return the names of all analyses."""
    return sorted(m.name for m in iter_modules(__path__) if m.name != "shared")


def get(name: str) -> Any:
    """Return an analysis's module.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in names():
        raise one_of("analysis", name, names())
    return import_module(f"{__name__}.{name}")
