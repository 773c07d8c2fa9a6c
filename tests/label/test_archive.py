"""`neuroxai label start BUNDLE https://.../dicom-web`: series of an archive by their UIDs, Segmentations sent to it."""

from __future__ import annotations

import socket
import subprocess
import sys

import numpy as np
import pytest

from helpers.command import run
from helpers.dicom import write_series
from helpers.label_server import Server, free_port
from helpers.orthanc import PASSWORD, USER, orthanc
from neuroxai import io
from neuroxai.io.dicom import web
from neuroxai.io.dicom.web import Address
from neuroxai.space import Volume


class Started(Server):
    """Started by the command, as a user does it."""

    def start(self) -> None:
        words = ["-m", "neuroxai", "label", "start", self.bundles, self.scans, "--work", self.work, "--port", self.port]
        words += ["--description", "mprage", "--store", "--device", "cpu"]
        with self.log.open("a") as handle:
            self.process = subprocess.Popen([sys.executable, *map(str, words)], stdout=handle, stderr=subprocess.STDOUT)
        self.wait()


@pytest.mark.parametrize("words", [["--store"], ["--description", "mprage"]])
def test_options_of_an_archive_go_with_one(tmp_path, words):
    result = run("label", "start", tmp_path, tmp_path, *words)
    assert (result.code, "is no archive" in result.err) == (2, True), result.err


@pytest.mark.label
def test_series_of_an_archive_are_explained_and_sent_back(tmp_path, trained_bundle, tiny_cohort, monkeypatch):
    pytest.importorskip("monailabel")
    scan = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    whole = Volume(np.rint(scan.data / scan.data.max() * 4000).astype(np.float32), scan.space)
    monkeypatch.setenv(web.USER, USER)
    monkeypatch.setenv(web.PASSWORD, PASSWORD)
    with orthanc(tmp_path / "orthanc") as url:
        archive = Address.of(url)
        for uid, description in (("2.25.811", "t1_mprage"), ("2.25.812", "localiser")):
            tags = {"StudyInstanceUID": "2.25.4711", "SeriesDescription": description}
            web.store(archive, write_series(tmp_path / uid, whole, uid=uid, **tags))
        work = tmp_path / "work"
        work.mkdir()
        server = Started(trained_bundle, url, work, free_port())
        beside = tmp_path / f"work-archive-{server.port}"
        try:
            assert beside.stat().st_mode & 0o777 == 0o700
            assert list(server.ask("GET", "/datastore/?output=all").json()["objects"]) == ["2.25.811"]
            answer = server.infer(trained_bundle.name, "2.25.811")
            assert answer.status_code == 200, answer.text
            assert not web.search(archive, modality="SEG")
            answer = server.infer(trained_bundle.name, "2.25.811", output="dicom_seg")
            assert answer.status_code == 200, answer.text
            (sent,) = web.search(archive, modality="SEG")
            assert sent.study == "2.25.4711"
        finally:
            server.stop()  # the command alone, as a service manager does it
        with socket.socket() as port:
            assert port.connect_ex(("127.0.0.1", server.port)) != 0
        assert not beside.exists()
        said = server.log.read_text() + (work / "logs" / "app.log").read_text()
        assert PASSWORD not in said
        assert "2.25.811" not in said
