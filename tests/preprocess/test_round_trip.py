"""From the scanner's grid to the network's and back: a blob returns to its voxel, the right stays right."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.brains import SPOT, brain, pose_of
from neuroxai import io
from neuroxai.preprocess import PrepareOptions, find_sources, native_of, prepare_cohort
from neuroxai.space import Volume


def prepared_from(folder, scan, **options):
    """Prepare a scan in `folder`; return the path of the result."""
    path = io.write_volume(folder / "sub-1_T1w.nii.gz", scan)
    summary = prepare_cohort(folder / "out", find_sources(path)[0], PrepareOptions(bias_correction=False, **options))
    assert not summary.failed, summary.failed
    (found,) = (folder / "out").rglob("*_desc-brain_T1w.nii.gz")
    return found


def blob_at(scan, voxel):
    data = np.zeros(scan.space.shape, np.float32)
    data[tuple(voxel)] = 1.0
    return Volume(ndimage.gaussian_filter(data, 5.0 / scan.space.spacing[0]), scan.space)


@pytest.mark.parametrize(
    ("arm", "orientation"),
    [
        ("none", "PSR"),
        pytest.param("linear", "LPS", marks=pytest.mark.full(2)),
        ("linear", "PSR"),
        pytest.param("linear", "RAS", marks=pytest.mark.full(2)),
        pytest.param("nonlinear", "LIP", marks=pytest.mark.full(2)),
    ],
)
def test_there_and_back(tmp_path, arm, orientation):
    shift = (12.0, -9.0, 15.0)
    scan = brain(orientation, degrees=14.0, shift=shift)
    result = prepared_from(tmp_path, scan, arm=arm, spacing=2.0)
    native = native_of(result)
    assert native is not None
    assert native.label == "T1w"
    assert native.space.matches(scan.space)
    grid = io.read_space(result)
    # a native voxel well off the middle on every axis: carried as a scan, brought back as a heatmap
    inside = np.argwhere(scan.data > 0)
    voxel = np.round(np.quantile(inside, 0.7, axis=0)).astype(int)
    there = native.mapping.carry(blob_at(scan, voxel), grid)
    back = native(there)
    np.testing.assert_allclose(ndimage.center_of_mass(back.data), voxel, atol=1.0)
    # what is on the person's right, front and top is so on the network's grid
    if arm != "none":
        image = io.read_volume(result)
        values = [
            ndimage.map_coordinates(image.data, grid.voxels(np.multiply(SPOT, sides))[:, None], order=1)[0]
            for sides in ((1, 1, 1), (-1, 1, 1))
        ]
        # the template has no such spot, so a warp makes it smaller; without it the sides differ by a few percent
        assert values[0] < 0.8 * values[1]
        # a warp pushes what the template lacks aside, by a few millimetres: looked for within 8 mm
        places = scan.space.world(np.moveaxis(np.indices(scan.space.shape), 0, -1))
        levels = []
        for sides in ((1, 1, 1), (-1, 1, 1)):
            there = native.mapping.to_native(np.multiply(SPOT, sides)[:, None])[:, 0]
            levels.append(np.quantile(scan.data[np.linalg.norm(places - there, axis=-1) < 8], 0.1))
        assert levels[0] < 0.8 * levels[1]
    if arm == "linear":
        truth = pose_of(14.0, shift)
        corners = np.array(np.meshgrid((-60, 60), (-90, 60), (-40, 70), indexing="ij")).reshape(3, -1)
        moved = truth[:3, :3] @ corners + truth[:3, 3:]
        assert np.linalg.norm(native.mapping.to_native(corners) - moved, axis=0).max() < 1.5


def test_only_prepared_scans_have_a_native_one(tmp_path):
    path = io.write_volume(tmp_path / "sub-1_T1w.nii.gz", brain())
    assert native_of(path) is None
    io.write_json(tmp_path / "sub-1_T1w.json", {"SkullStripped": True})
    assert native_of(path) is None
