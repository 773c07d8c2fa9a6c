"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans; skips where there is none, fails where one is named but absent."""
    named = os.environ.get("NEUROXAI_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"NEUROXAI_TEST_DATA names {named}, which is not a folder")
        pytest.skip(f"no real scans: neither NEUROXAI_TEST_DATA nor {folder} is there")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn a skipped real-data test into a failure where the data are named."""
    report = yield
    if report.skipped and item.get_closest_marker("real") and os.environ.get("NEUROXAI_TEST_DATA"):
        report.outcome = "failed"
        report.longrepr = f"NEUROXAI_TEST_DATA is set, but this real-data test skipped: {report.longrepr}"
    return report
