"""Cases of one test over the thirds of the full tier, of which continuous integration runs one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def spread(cases: Iterable[Any]) -> list[Any]:
    """Mark each case as of another third than the one before."""
    return [pytest.param(case, marks=pytest.mark.full(place % 3)) for place, case in enumerate(cases)]
