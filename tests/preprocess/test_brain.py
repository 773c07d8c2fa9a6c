"""Brains and heads told apart, brains found."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.heads import painted
from neuroxai.errors import InputError
from neuroxai.io import read_volume
from neuroxai.preprocess import brain
from neuroxai.preprocess.brain import extract_brain, mask_by_registration
from neuroxai.preprocess.intensity import is_skull_stripped
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume, mni152


def test_brains_and_what_is_none(grid, rng):
    brain = painted(grid)
    assert is_skull_stripped(brain)
    assert is_skull_stripped(Volume(brain.data - 7, grid))
    assert is_skull_stripped(brain.reoriented("PSR"))
    assert is_skull_stripped(brain.resampled_to(mni152(2), order=3))
    noisy = brain.data + rng.uniform(0, 0.05, grid.shape).astype(np.float32)
    assert not is_skull_stripped(Volume(noisy, grid))
    large = Volume(brain.data, Space(grid.shape, grid.affine @ np.diag([1.6, 1.6, 1.6, 1])))  # a head of 4.7 l
    assert not is_skull_stripped(large)
    cut = Volume(brain.data[:, :, 10:36], Space((48, 57, 26), grid.affine))  # leaves through two faces
    assert not is_skull_stripped(cut)
    assert not is_skull_stripped(Volume(np.zeros(grid.shape, dtype=np.float32), grid))


@pytest.mark.real
def test_real_scans_are_told_apart(real_data):
    brains = sorted((real_data / "cohorts" / "ds002748").rglob("*T1w.nii.gz"))[::12]
    brains += (real_data / "t1w" / "ds002748").glob("*.nii.gz")
    heads = sorted((real_data / "t1w" / "ixi").glob("*.nii.gz"))[::3]
    heads += (real_data / "t1w" / "open_ms_native").glob("*.nii.gz")
    heads += (real_data / "flair").rglob("*.nii.gz")
    assert len(brains) >= 5
    assert len(heads) >= 10
    assert [path.name for path in brains if not is_skull_stripped(read_volume(path))] == []
    assert [path.name for path in heads if is_skull_stripped(read_volume(path))] == []


@pytest.mark.real
def test_a_mask_does_not_depend_on_how_voxels_are_stored(real_data):
    pytest.importorskip("deepbet")
    scan = read_volume(real_data / "t1w" / "ixi" / "IXI012-HH-1211-T1_ds.nii.gz")
    mask = extract_brain(scan)
    assert mask.data.dtype == bool
    assert mask.space.matches(scan.space)
    assert 1200 < mask.data.sum() * 8 / 1000 < 1900  # ml
    other = extract_brain(scan.reoriented("LIP"))
    np.testing.assert_array_equal(other.reoriented(scan.space.orientation).data, mask.data)


def test_no_brain(grid):
    pytest.importorskip("deepbet")
    with pytest.raises(InputError, match="no brain"):
        extract_brain(Volume(np.zeros(grid.shape, dtype=np.float32), grid))


def test_without_deepbet(grid, monkeypatch):
    monkeypatch.setattr(brain, "find_spec", lambda name: None)
    assert not brain.deepbet_available()
    with pytest.raises(InputError, match=r"pip install 'neuroxai\[brain\]'"):
        extract_brain(painted(grid))


def test_the_templates_mask_on_a_scan(grid):
    brain = Volume(painted(grid).data > 0.1, grid)

    class Still:
        def carry_back(self, prepared, native):
            return prepared.resampled_to(native)

    found = mask_by_registration(Template("t", painted(grid), brain), Still(), mni152(2))
    assert found.data.dtype == bool
    assert found.data.sum() * 8 == pytest.approx(brain.data.sum() * 64, rel=0.05)
