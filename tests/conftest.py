"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from helpers.once import own_copy
from helpers.warm import Shell, shell

REPOSITORY = Path(__file__).resolve().parents[1]

# one thread, as each process of `neuroxai prepare` has: ITK looks at it once, and sums of more differ from run to run
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

# examples of property tests: a few, always the same, or with --hypothesis-profile=full many, new ones each time
# but in integration, which must not fail by the luck of a draw
PROFILE = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
}
settings.register_profile("ci", max_examples=15, derandomize=True, **PROFILE)
settings.register_profile("full", max_examples=200, derandomize=bool(os.environ.get("CI")), **PROFILE)
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the full tier be run in parts."""
    parser.addoption("--third", type=int, choices=(0, 1, 2), help="of the full tier only the tests marked full(THIRD)")
    parser.addoption("--quarter", type=int, choices=range(4), help="of these one quarter, by a test's group")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order given below, where pytest-xdist would begin with the groups of the most tests, the quickest."""
    config.option.loadscopereorder = False


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Cut long texts, which workers would send to and fro with each test's name."""
    return f"{val[:40]!r}..." if isinstance(val, (str, bytes)) and len(val) > 80 else None


# whoever asks for one of these trains, explains or runs commands
INTEGRATION = {"tiny_cohort", "trained_bundle", "trained_ms_bundle", "trained_sex_bundle", "terminal"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests into their tiers and groups; what takes long goes first, so that no worker is left alone with it."""
    third, quarter, left_out, long = config.getoption("--third"), config.getoption("--quarter"), [], set()
    for item in items:
        full = item.get_closest_marker("full")
        if full is not None and (len(full.args) != 1 or full.args[0] not in (0, 1, 2)):
            raise pytest.UsageError(f"{item.nodeid}: full{full.args}, expected full(0), full(1) or full(2)")
        if full is not None and third not in (None, full.args[0]):
            left_out.append(item)
        elif full is None and INTEGRATION & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)
        # a module's tests go to one worker, so that what they share is made once; larger groups have marks
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(REPOSITORY))))
        if full is not None or item.get_closest_marker("integration"):
            long.add(_group(item))
        if None not in (quarter, full) and item not in left_out and _quarter(item) != quarter:
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    kept = [item for item in items if item not in left_out]
    items[:] = sorted(kept, key=lambda item: _group(item) not in long)


def _quarter(item: pytest.Item) -> int:
    # the pages take longest of all, and share little: a few into each quarter
    name = item.nodeid if _group(item) == "pages" else _group(item)
    return zlib.crc32(name.encode()) % 4


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Fail real-data tests that skip where the data are named, and all but for want of a GPU where all is installed."""
    report = yield
    if not report.skipped:
        return report
    why = ""
    if item.get_closest_marker("real") and os.environ.get("NEUROXAI_TEST_DATA"):
        why = "NEUROXAI_TEST_DATA is set, but this real-data test skipped"
    elif os.environ.get("NEUROXAI_ALL_INSTALLED") and "GPU" not in str(report.longrepr):
        why = "NEUROXAI_ALL_INSTALLED is set, but this test skipped"
    if why:
        report.outcome = "failed"
        report.longrepr = f"{why}: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell whose ``neuroxai`` and ``python`` are spared the imports."""
    with shell(tmp_path_factory.mktemp("terminal")) as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty asymmetric phantoms on a 5 mm grid with a datalist; the patients have a bright blob on their left."""
    from neuroxai.bundles.checks.phantoms import make_cohort

    return own_copy(tmp_path_factory, "tiny", make_cohort)


@pytest.fixture(scope="session")
def trained_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: Path) -> Path:
    """The Alzheimer's bundle, trained on the phantoms until it tells them apart."""
    return _trained(tmp_path_factory, tiny_cohort, "AD", max_epochs=16, batch_size=2)


@pytest.fixture(scope="session")
def trained_ms_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: Path) -> Path:
    """The multiple-sclerosis bundle, trained on the phantoms until it tells them apart."""
    return _trained(tmp_path_factory, tiny_cohort, "MS", max_epochs=9, batch_size=3, max_shift=0)


@pytest.fixture(scope="session")
def trained_sex_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: Path) -> Path:
    """The sex bundle with model A-PIF, trained on the phantoms until it tells them apart."""
    return _trained(tmp_path_factory, tiny_cohort, "SEX", max_epochs=14, batch_size=2, max_shift=0)


def _trained(factory: pytest.TempPathFactory, cohort: Path, bundle: str, **options: object) -> Path:
    from helpers import bundles

    def make(folder: Path) -> None:
        bundles.copy_of(getattr(bundles, bundle), folder)
        bundles.train(folder, cohort, learning_rate=0.001, dropout=0.0, seed=1, **options)

    return own_copy(factory, f"trained_{bundle}", make)
