"""Prepared once for all tests of the room."""

from __future__ import annotations

import numpy as np
import pytest

from neuroxai.simulate import Acquisition
from neuroxai.simulate.cohort import _prepared
from neuroxai.space import mni152


@pytest.fixture(scope="session")
def atrophy():
    return _prepared("atrophy")


@pytest.fixture(scope="session")
def lesions():
    from neuroxai.simulate import Lesions, mni152_anatomy

    return Lesions(mni152_anatomy())


@pytest.fixture(scope="session")
def atrophy_8mm(atrophy):
    return Acquisition(atrophy, mni152(8))


@pytest.fixture(scope="session")
def lesions_8mm(lesions):
    return Acquisition(lesions, mni152(8))


@pytest.fixture
def seed():
    return np.random.SeedSequence(11, spawn_key=(1, 3))
