"""A cohort on disk: one bad scan stops nobody, a rerun goes on, the same choices give the same bytes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import ndimage

from helpers.brains import bids_of, die_for_the_second
from neuroxai import io
from neuroxai.derivatives import prepared
from neuroxai.errors import InputError
from neuroxai.preprocess import BatchOptions, PrepareOptions, find_sources, prepare_cohort
from neuroxai.report import filling_figure
from neuroxai.report.inputs import about_person, flags_of
from neuroxai.space import Volume

QUICK = PrepareOptions(arm="none", spacing=4.0, bias_correction=False)


@pytest.fixture(scope="module")
def bids(tmp_path_factory):
    return bids_of(tmp_path_factory.mktemp("bids"), 4)


@pytest.fixture(scope="module")
def whole(bids, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    summary = prepare_cohort(out, find_sources(bids)[0], QUICK, batch=BatchOptions(participants=bids))
    assert (summary.made, summary.failed) == (4, [])
    return out


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }  # whole files alone


def scan_of(out, name):
    return out / name / "anat" / f"{name}_space-centred_res-4_desc-brain_T1w.nii.gz"


def record_of(out, name):
    return scan_of(out, name).with_name(f"{name}_space-centred_res-4_desc-brain_T1w.json")


def test_what_is_written(whole):
    names = set(tree(whole))
    stem = "sub-01/anat/sub-01"
    assert {
        "dataset_description.json",
        "participants.tsv",
        "quality.tsv",
        f"{stem}_space-centred_res-4_desc-brain_T1w.nii.gz",
        f"{stem}_space-centred_res-4_desc-brain_T1w.json",
        f"{stem}_space-centred_res-4_desc-brain_mask.nii.gz",
        f"{stem}_space-T1w_desc-brain_mask.nii.gz",
        f"{stem}_from-T1w_to-centred_mode-image_desc-affine_xfm.txt",
    } <= names
    assert not [name for name in names if ".tmp." in name or "failed" in name]
    image = io.read_volume(scan_of(whole, "sub-01"))
    assert image.data.min() == 0
    assert image.data.max() == 1
    quality = io.read_tsv(whole / "quality.tsv")
    assert list(quality["participant_id"]) == ["sub-01", "sub-02", "sub-03", "sub-04"]


def test_the_record_tells_inputs_choices_and_versions(whole, bids):
    record = io.read_json(record_of(whole, "sub-02"))
    assert record["Inputs"] == {"scan": io.sha256(bids / "sub-02/anat/sub-02_T1w.nii.gz")}
    assert record["Parameters"]["arm"] == "none"
    assert record["BrainFrom"] == "stripped"
    assert {"neuroxai", "numpy"} <= set(record["Versions"])


def test_reports_say_how_a_scan_was_prepared(whole):
    record = prepared.record_of(scan_of(whole, "sub-01"))
    assert record.inputs == io.read_json(record_of(whole, "sub-01"))["Inputs"]
    (_, said) = about_person({}, None, record)[-1]
    assert said.startswith("registration none, by ")
    assert "spacing in mm 4.0" in said
    assert "bias correction False" in said
    assert flags_of(record) == record.flags
    # a sidecar that other software wrote is no record of a preparation
    assert prepared.record_of(next(whole.glob("sub-01/anat/*_mask.nii.gz"))) is None


def test_more_processes_give_the_same_bytes(whole, bids, tmp_path):
    prepare_cohort(tmp_path / "out", find_sources(bids)[0], QUICK, batch=BatchOptions(jobs=3, participants=bids))
    assert tree(tmp_path / "out") == tree(whole)


def test_a_rerun_redoes_only_what_changed(whole, bids, tmp_path):
    shutil.copytree(bids, tmp_path / "bids")
    shutil.copytree(whole, tmp_path / "out")
    scan = tmp_path / "bids/sub-03/anat/sub-03_T1w.nii.gz"
    volume = io.read_volume(scan)
    io.write_volume(scan, type(volume)(volume.data * np.float32(1.5), volume.space))
    before = {name: scan_of(tmp_path / "out", name).stat().st_mtime_ns for name in ("sub-01", "sub-03")}
    # the same content elsewhere is the same input
    summary = prepare_cohort(tmp_path / "out", find_sources(tmp_path / "bids")[0], QUICK)
    assert (summary.made, summary.kept) == (1, 3)
    after = {name: scan_of(tmp_path / "out", name).stat().st_mtime_ns for name in ("sub-01", "sub-03")}
    assert after["sub-01"] == before["sub-01"]
    assert after["sub-03"] > before["sub-03"]
    scan_of(tmp_path / "out", "sub-02").write_bytes(b"cut")
    assert prepare_cohort(tmp_path / "out", find_sources(tmp_path / "bids")[0], QUICK).made == 1


def test_other_choices_are_refused(whole, bids):
    before = tree(whole)
    with pytest.raises(InputError, match=r"made with spacing 4\.0, now 2\.0"):
        prepare_cohort(whole, find_sources(bids)[0], PrepareOptions(arm="none", spacing=2.0, bias_correction=False))
    assert tree(whole) == before


def test_bad_scans_are_told_and_the_others_go_on(bids, tmp_path):
    shutil.copytree(bids, tmp_path / "bids")
    paths = [tmp_path / f"bids/sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2, 3)]
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    volume = io.read_volume(paths[1])
    few = type(volume.space)((volume.space.shape[0], volume.space.shape[1], 3), volume.space.affine)
    io.write_volume(paths[1], type(volume)(volume.data[:, :, 20:23].copy(), few))
    spoiled = volume.data.copy()
    spoiled[5, 5, 5] = np.nan
    io.write_volume(paths[2], type(volume)(spoiled, volume.space))
    summary = prepare_cohort(tmp_path / "out", find_sources(tmp_path / "bids")[0], QUICK, batch=BatchOptions(jobs=2))
    assert (summary.made, len(summary.failed)) == (1, 3)
    failed = io.read_tsv(tmp_path / "out/failed.tsv")
    assert list(failed["participant_id"]) == ["sub-01", "sub-02", "sub-03"]
    for text, word in zip(failed["error"], ("truncated|read", "3 voxels of 3 mm along S", "NaN"), strict=True):
        assert re.search(word, text), text
    assert scan_of(tmp_path / "out", "sub-04").is_file()


@pytest.mark.parametrize(
    "jobs", [pytest.param(1, marks=pytest.mark.full(2)), pytest.param(2, marks=pytest.mark.full(0))]
)
def test_a_process_that_dies_takes_no_other_scan_along(bids, tmp_path, jobs):
    summary = prepare_cohort(
        tmp_path / "out", find_sources(bids)[0], QUICK, batch=BatchOptions(jobs=jobs, draw=die_for_the_second)
    )
    assert summary.made + summary.kept == 3  # what was written but not yet told when the process died is kept
    assert [item["participant_id"] for item in summary.failed] == ["sub-02"]
    assert "ended by the system" in summary.failed[0]["error"]
    assert not record_of(tmp_path / "out", "sub-02").exists()


@pytest.mark.full(2)
def test_a_killed_run_goes_on(whole, bids, tmp_path):
    out = tmp_path / "out"
    code = (
        "from pathlib import Path; from neuroxai.preprocess import *\n"
        f"prepare_cohort(Path({str(out)!r}), find_sources(Path({str(bids)!r}))[0], "
        f"PrepareOptions(arm='none', spacing=4.0, bias_correction=False), "
        f"batch=BatchOptions(participants=Path({str(bids)!r})))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("*/anat/sub-*_T1w.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    summary = prepare_cohort(out, find_sources(bids)[0], QUICK, batch=BatchOptions(participants=bids))
    assert summary.kept >= 1
    assert tree(out) == tree(whole)


# by the command and without registration: tests/cli/test_prepare.py
@pytest.mark.full(1)
def test_flagged_scans_are_listed_and_dropped_only_if_asked(bids, tmp_path):
    sources, _ = find_sources(bids)
    volume = io.read_volume(sources[0].scan)
    cut = volume.data.copy().astype(np.float32)[:, :, :40]  # LPS: the upper third is outside the field of view
    place = tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz"
    place.parent.mkdir(parents=True)
    io.write_volume(place, type(volume)(cut, type(volume.space)(cut.shape, volume.space.affine)))
    shutil.copytree(bids / "sub-02", tmp_path / "bids/sub-02")
    sources, _ = find_sources(tmp_path / "bids")
    kept = prepare_cohort(tmp_path / "out", sources, QUICK)
    assert list(kept.flagged) == ["sub-01"]
    assert scan_of(tmp_path / "out", "sub-01").is_file()
    dropped = prepare_cohort(tmp_path / "out", sources, QUICK, batch=BatchOptions(drop_flagged=True))
    assert dropped.dropped == ["sub-01"]
    assert (dropped.made, dropped.kept) == (1, 1)
    assert not scan_of(tmp_path / "out", "sub-01").exists()
    assert list(io.read_tsv(tmp_path / "out/quality.tsv")["participant_id"]) == ["sub-01", "sub-02"]
    again = prepare_cohort(tmp_path / "out", sources, QUICK)
    assert again.made == 1
    assert scan_of(tmp_path / "out", "sub-01").is_file()


@pytest.mark.full(0)
def test_lesions_are_filled_and_shown(tmp_path):
    """A bright lesion in white matter comes out as bright as white matter; a figure shows it; the rest is as it was."""
    bids_of(tmp_path / "bids", 1)
    path = tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz"
    healthy = io.read_volume(path)
    places = healthy.space.world(np.moveaxis(np.indices(healthy.space.shape), 0, -1)) - np.array((7.0, -5.0, 9.0))
    lesion = np.linalg.norm(places - (-26, -24, 28), axis=-1) < 7  # the centrum semiovale of the template
    level = float(np.median(healthy.data[lesion]))
    io.write_volume(path, Volume(np.where(lesion, np.float32(2.5 * level), healthy.data), healthy.space))
    io.write_volume(tmp_path / "sub-01.nii.gz", Volume(lesion.astype(np.uint8), healthy.space), np.uint8)
    options = PrepareOptions(arm="linear", spacing=3.0, bias_correction=False, scaling="none")
    results = {}
    for name, masks in (("filled", str(tmp_path / "{participant}.nii.gz")), ("as it is", None)):
        sources, _ = find_sources(tmp_path / "bids", lesions=masks)
        summary = prepare_cohort(tmp_path / name, sources, options, batch=BatchOptions(draw_filling=filling_figure))
        assert not summary.failed, summary.failed
        results[name] = io.read_volume(next((tmp_path / name).rglob("*_desc-brain_T1w.nii.gz"))).data
    mask = io.read_volume(next(tmp_path.rglob("*_label-lesion_mask.nii.gz"))).data > 0
    core = ndimage.binary_erosion(mask)
    assert core.sum() > 5
    assert np.median(results["as it is"][core]) > 2 * level
    np.testing.assert_allclose(np.median(results["filled"][core]), level, rtol=0.12)
    assert [file.name for file in tmp_path.rglob("*filling*")] == ["sub-01_desc-filling_T1w.png"]
