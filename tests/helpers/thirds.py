"""Cases of one test over the thirds of the full tier, of which continuous integration runs one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def spread(cases: Iterable[Any]) -> list[Any]:
    """Mark each case as of another third than the one before."""
    return [_marked(case, place) for place, case in enumerate(cases)]


def sampled(cases: Iterable[Any], step: int) -> list[Any]:
    """Leave one case of every `step` in the default tiers, and spread the others; a tuple is of several arguments."""
    return [_marked(case, place) if place % step else case for place, case in enumerate(cases)]


def _marked(case: Any, place: int) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.full(place % 3))
