"""The engines, and a grid to paint on."""

from __future__ import annotations

import pytest

from neuroxai.preprocess.registration import create
from neuroxai.space import Space


@pytest.fixture(scope="session")
def grid() -> Space:
    """4 mm."""
    return Space((48, 57, 48), [[4, 0, 0, -94], [0, 4, 0, -112], [0, 0, 4, -94], [0, 0, 0, 1]])


@pytest.fixture(scope="session", params=["ants", "itk"])
def engine(request):
    """Each engine."""
    pytest.importorskip(request.param)
    return create(request.param)
