"""Real scans onto the template: the overlap that is promised, by either engine."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from neuroxai.deformation import grid_points, to_voxels
from neuroxai.io import read_labels, read_volume
from neuroxai.preprocess import bias
from neuroxai.preprocess.bias import bias_field, n4
from neuroxai.preprocess.brain import extract_brain
from neuroxai.preprocess.intensity import foreground
from neuroxai.preprocess.registration import create
from neuroxai.preprocess.template import load_template
from neuroxai.space import Volume

pytestmark = [pytest.mark.real, pytest.mark.full(2)]


def overlap(brain, affine, template, warp=None):
    """Dice of a scan's brain and the template's."""
    points = grid_points(template.brain.space)
    points = points if warp is None else warp(points)
    voxels = to_voxels(brain.space, affine[:3, :3] @ points + affine[:3, 3:])
    there = ndimage.map_coordinates(brain.data.astype(np.float32), voxels, order=1) >= 0.5
    return 2 * (there & template.brain.data.ravel()).sum() / (there.sum() + template.brain.data.sum())


@pytest.fixture(scope="module")
def template():
    return load_template(spacing=2)


def test_both_engines_on_a_brain(real_data, template):
    pytest.importorskip("ants")
    pytest.importorskip("itk")
    scan = read_volume(real_data / "t1w" / "ds002748" / "sub-01_T1w.nii.gz")
    brain = Volume(foreground(scan), scan.space)
    one, two = (create(name).affine(template.t1, scan) for name in ("ants", "itk"))
    assert overlap(brain, one, template) > 0.93
    assert overlap(brain, two, template) > 0.93
    points = grid_points(template.brain.space)[:, template.brain.data.ravel()]
    apart = np.linalg.norm((one - two)[:3, :3] @ points + (one - two)[:3, 3:], axis=0)
    assert apart.max() < 2


def test_warps_bring_a_head_nearer(real_data, template, monkeypatch):
    pytest.importorskip("ants")
    pytest.importorskip("deepbet")
    from neuroxai.preprocess.registration import ants as ants_engine

    monkeypatch.setattr(ants_engine, "_SYN_ITERATIONS", {8: 40, 4: 2, 2: 0})  # enough to see it
    scan = read_volume(real_data / "t1w" / "ixi" / "IXI012-HH-1211-T1_ds.nii.gz")
    brain = extract_brain(scan)
    engine = create("ants")
    affine = engine.affine(template.t1, scan, moving_mask=brain)
    warp, _ = engine.deformable(template.t1, scan, affine, moving_mask=brain)
    linear = overlap(brain, affine, template)
    assert linear > 0.93
    assert overlap(brain, affine, template, warp) > max(0.95, linear + 0.005)


def test_a_head_of_thick_flair_slices(real_data, template):
    pytest.importorskip("deepbet")
    pytest.importorskip("itk")
    scan = read_volume(real_data / "flair" / "open_ms_native" / "long_patient01_study1_FLAIR.nii.gz")
    brain = extract_brain(scan)
    assert overlap(brain, create("itk").affine(template.t1, scan, moving_mask=brain), template) > 0.93


def test_bias_correction_brings_the_tissues_apart(real_data):
    """Overlap of grey and white matter, (sd + sd) / (mean - mean) by DLMUSE labels; plain N4 gave .67 from .84 here."""
    name = "IXI014-HH-1236-T1_ds"
    scan = read_volume(real_data / "t1w" / "ixi" / f"{name}.nii.gz")
    labels = read_labels(real_data / "labelmaps" / "ixi_dlmuse" / f"{name}_DLMUSE.nii.gz").data
    white = ndimage.binary_erosion(np.isin(labels, [*range(81, 95), 69]))
    grey = np.isin(labels, range(100, 208))

    def apart(values):
        return (values[white].std() + values[grey].std()) / (values[white].mean() - values[grey].mean())

    found = bias_field(scan, ndimage.binary_dilation(labels > 0, iterations=1))
    assert apart(scan.data / found) < 0.9 * apart(scan.data)


def test_n4_is_that_of_ants_on_a_head(real_data, monkeypatch):
    """With equal numbers of steps: where a level ends early, rounding may decide on one more."""
    ants = pytest.importorskip("ants")
    name = "IXI014-HH-1236-T1_ds"
    scan = read_volume(real_data / "t1w" / "ixi" / f"{name}.nii.gz")
    labels = read_labels(real_data / "labelmaps" / "ixi_dlmuse" / f"{name}_DLMUSE.nii.gz").data
    found = []

    def estimate(values, where):
        found.append((values, where, n4(values, where)))
        return found[0][2]

    monkeypatch.setattr(bias, "TOLERANCE", 0.0)
    monkeypatch.setattr(bias, "STEPS", 4)
    monkeypatch.setattr(bias, "n4", estimate)
    bias_field(scan, labels > 0)
    values, where, field = found[0]
    pictures = [ants.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in (values, where)]
    expected = ants.n4_bias_field_correction(
        *pictures, shrink_factor=1, convergence={"iters": [4] * 3, "tol": 0.0}, return_bias_field=True
    ).numpy()
    assert np.ptp(field[where]) > 0.1
    np.testing.assert_allclose(np.exp(field)[where], expected[where], rtol=1e-4)
