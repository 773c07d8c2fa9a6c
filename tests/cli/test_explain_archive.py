"""`neuroxai explain https://ARCHIVE/...`: a series that is here only meanwhile, objects sent back on request."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from helpers.command import run
from helpers.dicom import write_series
from helpers.orthanc import PASSWORD, USER, orthanc
from neuroxai import io
from neuroxai.io.dicom import web
from neuroxai.io.dicom.web import Address
from neuroxai.space import Volume

STUDY, SERIES = "2.25.4711", "2.25.811"


@pytest.fixture(scope="module")
def stocked(tmp_path_factory, tiny_cohort):
    folder = tmp_path_factory.mktemp("archive")
    scan = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    whole = Volume(np.rint(scan.data / scan.data.max() * 4000).astype(np.float32), scan.space)
    with orthanc(folder / "orthanc") as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(web.USER, USER)
        patch.setenv(web.PASSWORD, PASSWORD)
        web.store(Address.of(url), write_series(folder / "series", whole, uid=SERIES, StudyInstanceUID=STUDY))
        yield url, folder / "series"


def test_a_series_of_an_archive_is_explained_as_its_files(tmp_path, trained_bundle, stocked, monkeypatch):
    url, series = stocked
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    words = ("--arm", "as-is", "--dicom-pictures")
    plain = run("explain", trained_bundle, series, "--out", tmp_path / "a", "--dicom-out", tmp_path / "b", *words)
    assert plain.code == 0, plain.err
    there = (tmp_path / "out", "--dicom-out", tmp_path / "dicom", *words)
    result = run("explain", trained_bundle, f"{url}/studies/{STUDY}", "--series", "mprage", "--out", *there)
    assert result.code == 0, result.err
    files = [path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.dcm")]
    for file in files:
        assert (tmp_path / "dicom" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert not list((tmp_path / "tmp").iterdir())
    # nothing is sent unasked
    monkeypatch.setenv(web.USER, USER)
    archive = Address.of(url)
    assert not web.search(archive, modality="SEG")
    result = run("explain", trained_bundle, f"{url}/studies/{STUDY}", "--store", "--out", *there)
    assert result.code == 0, result.err
    assert "finished before" in result.err
    assert f"sent to {url}: {len(files)} objects" in result.out
    assert PASSWORD not in result.out + result.err
    assert {one.study for one in web.search(archive, modality="SEG")} == {STUDY}
    assert len(web.search(archive, modality="OT")) == 2  # map and pictures


def test_store_goes_with_an_archive_and_objects(tmp_path, trained_bundle, stocked):
    url, series = stocked
    for source, words in ((series, ["--dicom-out", tmp_path / "d"]), (f"{url}/studies/{STUDY}", [])):
        result = run("explain", trained_bundle, source, "--out", tmp_path / "out", "--store", *words)
        assert result.code == 2
        assert "--store sends the objects of --dicom-out" in result.err
    result = run("explain", trained_bundle, "http://archive.example/dicom-web", "--out", tmp_path / "out")
    assert (result.code, "is not encrypted" in result.err) == (2, True), result.err
    assert not (tmp_path / "out").exists()
