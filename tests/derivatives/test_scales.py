"""The common scale of heatmaps: written, read, kept with the bundle, and in the files' headers."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from neuroxai import io
from neuroxai.derivatives import scales
from neuroxai.space import Volume, mni152

KEY = {"method": "lrp_alpha_beta", "options": {"beta": 0}, "start": "probability"}
MAPS = [(0.5, 20.0, True), (2.0, 80.0, True), (1e-5, 2e-5, False), (0.1, 1.0, False), (0.4, 40.0, True)]


def test_the_scale_is_the_widest_and_knows_the_patients(tmp_path):
    found = scales.scale_of(MAPS)
    assert found == scales.Scale(2.0, "cohort", 5, (20.0, 40.0, 80.0))
    assert found.weaker_than(2e-5) == 1.0
    assert found.weaker_than(40.0) == pytest.approx(1 / 3)
    # through a file, as a run notes it
    io.write_json(tmp_path / "explain.json", {"scale": scales.scale_record(found)})
    assert scales.scale_of_record(io.read_json(tmp_path / "explain.json")["scale"]) == found
    assert scales.scale_of([]) is None
    assert scales.scale_of([(0.0, 0.0, True)]) is None
    for wrong in (None, [], {}, {"limit": "x"}, {**scales.scale_record(found), "limit": -1}):
        assert scales.scale_of_record(wrong) is None


def test_bundles_keep_the_scale_of_most_scans(tmp_path):
    cohort = scales.scale_of(MAPS)
    assert scales.store_scale(tmp_path, KEY, cohort)
    kept = scales.stored_scale(tmp_path, KEY)
    assert (kept.limit, kept.source, kept.scans, kept.patients) == (2.0, "bundle", 5, (20.0, 40.0, 80.0))
    assert scales.stored_scale(tmp_path, {**KEY, "start": "logit"}) is None
    assert not scales.store_scale(tmp_path, KEY, scales.scale_of(MAPS[:3]))  # too few
    assert not scales.store_scale(tmp_path, KEY, scales.scale_of([m for m in MAPS if not m[2]] * 5))  # no patient
    assert scales.stored_scale(tmp_path, KEY) == kept
    # a sure control alone is seen on the scale of the others
    assert scales.wider(scales.scale_of(MAPS[2:3]), kept) == kept
    (tmp_path / scales.FILE).write_text("[")
    assert scales.stored_scale(tmp_path, KEY) is None


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_viewers_are_told_the_range_and_the_data_stay(tmp_path, ending):
    space = mni152(16)
    data = np.random.default_rng(0).normal(0, 1e-6, space.shape).astype(np.float32)
    path = io.write_volume(tmp_path / f"map{ending}", Volume(data, space), description="map", display=3e-6)
    header = nib.load(path).header
    assert (header["cal_min"], header["cal_max"]) == (np.float32(-3e-6), np.float32(3e-6))
    io.set_display(path, 0.25)
    image = nib.load(path)
    assert (image.header["cal_min"], image.header["cal_max"]) == (-0.25, 0.25)
    assert np.asanyarray(image.dataobj).tobytes() == data.tobytes()
    # but for the range it is the file that is written at once
    once = io.write_volume(tmp_path / f"once{ending}", Volume(data, space), description="map", display=0.25)
    unpacked = (gzip.decompress(p.read_bytes()) if ending == ".nii.gz" else p.read_bytes() for p in (path, once))
    assert len(set(unpacked)) == 1
