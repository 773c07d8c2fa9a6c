"""Real scans to MNI152 and back: overlap with the template, sides, a blob's round trip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from neuroxai import io
from neuroxai.preprocess import PrepareOptions, find_sources, native_of, prepare_cohort
from neuroxai.space import Volume

SCANS = {
    # as stored: head with skull, PSR; skull-stripped, LAS; slices of 3 mm, LPS, by way of T1w
    "ixi": ("t1w/ixi/IXI012-HH-1211-T1_ds.nii.gz", "T1w", "PSR", "deepbet"),
    "ds002748": ("t1w/ds002748/sub-01_T1w.nii.gz", "T1w", "LAS", "stripped"),
    "ms": ("flair/open_ms_native/long_patient12_study1_FLAIR.nii.gz", "FLAIR", "LPS", "deepbet"),
}


def bids_with(folder, real_data, name):
    """One shared scan, and its T1w where it is FLAIR, as a BIDS folder of links."""
    path, modality, _, _ = SCANS[name]
    anat = folder / "bids" / "sub-1" / "anat"
    anat.mkdir(parents=True)
    (anat / f"sub-1_{modality}.nii.gz").symlink_to(real_data / path)
    if modality == "FLAIR":
        (anat / "sub-1_T1w.nii.gz").symlink_to(real_data / path.replace("flair/", "t1w/").replace("FLAIR", "T1W"))
    return folder / "bids"


@pytest.mark.real
@pytest.mark.full(0)
@pytest.mark.parametrize(
    ("name", "arm", "least"), [("ixi", "nonlinear", 0.95), ("ds002748", "linear", 0.93), ("ms", "linear", 0.93)]
)
def test_a_real_scan_there_and_back(real_data, tmp_path, name, arm, least):
    _, modality, orientation, brain_from = SCANS[name]
    options = PrepareOptions(arm=arm, modality=modality)
    sources, _ = find_sources(bids_with(tmp_path, real_data, name), modality)
    summary = prepare_cohort(tmp_path / "out", sources, options)
    assert not summary.failed, summary.failed
    quality = io.read_tsv(tmp_path / "out" / "quality.tsv").iloc[0]
    assert quality["dice"] >= least
    assert quality["brain_from"] == brain_from
    assert quality["determinant"] > 0
    assert not [flag for flag in summary.flagged.get("sub-1", []) if "slices" not in flag]

    scan = io.read_volume(sources[0].scan)
    assert scan.space.orientation == orientation
    (result,) = (tmp_path / "out").rglob(f"*_desc-brain_{modality}.nii.gz")
    native = native_of(result)
    assert native.space.matches(scan.space)
    # the person's left front top, in the scanner's world; the brain's middle from its mask
    mask = io.read_volume(next((tmp_path / "out").rglob(f"*_space-{modality}_desc-brain_mask.nii.gz")))
    middle = mask.space.world(np.argwhere(mask.data > 0)).mean(axis=0)
    voxel = np.round(scan.space.voxels(middle + np.array((-25, 20, 20)))).astype(int)
    blob = np.zeros(scan.space.shape, np.float32)
    blob[tuple(voxel)] = 1
    blob = Volume(ndimage.gaussian_filter(blob, np.divide(5.0, scan.space.spacing)), scan.space)
    there = native.mapping.carry(blob, io.read_space(result))
    where = io.read_space(result).world(ndimage.center_of_mass(there.data))
    assert where[0] < -12
    assert where[1] > 0
    back = native(there)
    np.testing.assert_allclose(ndimage.center_of_mass(back.data), voxel, atol=1.0)
