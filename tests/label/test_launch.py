"""Starting the server: what is refused, where it listens, what it may see."""

from __future__ import annotations

import json

import pytest

from helpers.command import run
from neuroxai.errors import InputError
from neuroxai.label_app import launch


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())


def test_the_apps_folder_holds_what_monai_label_looks_for():
    result = run("label", "path")
    assert result.code == 0
    assert (launch.APP / "main.py").is_file()
    assert result.out.strip() == str(launch.APP)


def test_without_monai_label_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    result = run("label", "start", tmp_path, tmp_path)
    assert result.code == 2
    assert "bash scripts/label_env.sh neuroxai label start" in result.err
    assert "Traceback" not in result.err


def test_it_listens_on_loopback_and_to_its_own_pages(tmp_path, installed, tiny_cohort, trained_bundle):
    words, environment = launch.command(
        trained_bundle, tiny_cohort, tmp_path / "work", "127.0.0.1", 8123, "cpu", ["http://localhost:3000"]
    )
    assert words[words.index("--host") + 1] == "127.0.0.1"
    origins = json.loads(environment[launch.ORIGINS])
    assert origins == ["http://127.0.0.1:8123", "http://localhost:8123", "http://localhost:3000"]
    assert "*" not in json.loads(environment[launch.HOSTS])
    assert "*" not in json.loads(environment["MONAI_LABEL_CORS_ORIGINS"])
    assert (tmp_path / "work" / "main.py").is_file()


def test_a_bids_cohort_becomes_a_flat_store_of_links(tmp_path, tiny_cohort):
    before = sorted(tiny_cohort.rglob("*"))
    store = launch.data_store(tiny_cohort, tmp_path)
    links = sorted(store.iterdir())
    assert len(links) == 20
    assert all(link.is_symlink() and link.resolve().is_file() for link in links)
    assert links[0].name == "sub-00_desc-brain_T1w.nii.gz"
    assert launch.data_store(tiny_cohort, tmp_path) == store  # again, nothing in the way
    assert sorted(tiny_cohort.rglob("*")) == before


@pytest.mark.parametrize("missing", ["bundles", "scans"])
def test_an_absent_folder_is_refused(tmp_path, installed, missing):
    for name in ("bundles", "scans"):
        if name != missing:
            (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{missing}: no such folder"):
        launch.command(tmp_path / "bundles", tmp_path / "scans", tmp_path / "work", "127.0.0.1", 8000, "cpu", [])


def test_a_folder_without_a_scan_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no NIfTI scan"):
        launch.data_store(tmp_path, tmp_path / "work")
