"""Starting the server: what is refused, where it listens, what it may see."""

from __future__ import annotations

import json
import socket

import pytest

from helpers.command import run
from neuroxai.errors import InputError
from neuroxai.label_app import launch


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())


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


@pytest.mark.parametrize("missing", ["bundles", "scans"])
def test_an_absent_folder_is_refused(tmp_path, installed, missing):
    for name in ("bundles", "scans"):
        if name != missing:
            (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{missing}: no such folder"):
        launch.command(tmp_path / "bundles", tmp_path / "scans", tmp_path / "work", "127.0.0.1", 8000, "cpu", [])


@pytest.mark.parametrize("work", ["scans", "scans/work", ".", "link/work"])
def test_a_working_folder_among_the_scans_or_around_them_is_refused(tmp_path, installed, trained_bundle, work):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "one.nii.gz").write_bytes(b"x")
    (tmp_path / "link").symlink_to(scans)
    for given in (scans, tmp_path / "link"):
        with pytest.raises(InputError, match=r"lie in one another.*name a folder of its own with --work"):
            launch.command(trained_bundle, given, tmp_path / work, "127.0.0.1", 8124, "cpu", [])
    assert [path.name for path in scans.iterdir()] == ["one.nii.gz"]


@pytest.mark.parametrize("name", ["main.py", "logging.json", "tmp/8125"])
def test_a_working_folder_with_files_of_others_is_refused(tmp_path, installed, trained_bundle, tiny_cohort, name):
    path = tmp_path / "project" / name
    path.parent.mkdir(parents=True)
    path.write_text("of the user")
    with pytest.raises(InputError, match=r"would overwrite and has not written; name an empty folder"):
        launch.command(trained_bundle, tiny_cohort, tmp_path / "project", "127.0.0.1", 8125, "cpu", [])
    assert path.read_text() == "of the user"
    for _ in range(2):  # a folder of its own is taken again
        launch.command(trained_bundle, tiny_cohort, tmp_path / "own", "127.0.0.1", 8125, "cpu", [])


def test_a_port_that_is_taken_is_refused_before_anything_is_cleared(tmp_path, installed, trained_bundle, tiny_cohort):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        sent = tmp_path / "work" / "tmp" / str(port) / "of-the-other-server"
        sent.parent.mkdir(parents=True)
        sent.write_text("scan")
        with pytest.raises(InputError, match=rf"127.0.0.1:{port} cannot be listened at.*another --port"):
            launch.command(trained_bundle, tiny_cohort, tmp_path / "work", "127.0.0.1", port, "cpu", [])
        assert sent.is_file()
