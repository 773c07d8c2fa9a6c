"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from helpers.warm import Shell, shell

REPOSITORY = Path(__file__).resolve().parents[1]

# one thread, as each process of `neuroxai prepare` has: ITK looks at it once, and sums of more differ from run to run
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

# integration must not fail by the luck of a draw; everywhere else new examples are sought each time
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a module's tests to one worker, so that what they share is made once; larger groups have marks."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(REPOSITORY))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn a skipped real-data test into a failure where the data are named."""
    report = yield
    if report.skipped and item.get_closest_marker("real") and os.environ.get("NEUROXAI_TEST_DATA"):
        report.outcome = "failed"
        report.longrepr = f"NEUROXAI_TEST_DATA is set, but this real-data test skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell whose ``neuroxai`` and ``python`` are spared the imports."""
    with shell(tmp_path_factory.mktemp("terminal")) as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty asymmetric phantoms on a 5 mm grid with a datalist; the patients have a bright blob on their left."""
    from bundle_checks.phantoms import make_cohort

    return make_cohort(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def trained_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: Path) -> Path:
    """The Alzheimer's bundle, trained on the phantoms until it tells them apart."""
    from helpers.bundles import AD, copy_of, train

    bundle = copy_of(AD, tmp_path_factory.mktemp("trained") / "bundle")
    train(bundle, tiny_cohort, max_epochs=16, learning_rate=0.001, dropout=0.0, batch_size=2, seed=1)
    return bundle


@pytest.fixture(scope="session")
def trained_ms_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: Path) -> Path:
    """The multiple-sclerosis bundle, trained on the phantoms until it tells them apart."""
    from helpers.bundles import MS, copy_of, train

    bundle = copy_of(MS, tmp_path_factory.mktemp("trained_ms") / "bundle")
    train(bundle, tiny_cohort, max_epochs=12, learning_rate=0.001, dropout=0.0, batch_size=3, max_shift=0, seed=1)
    return bundle
