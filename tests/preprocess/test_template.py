"""Templates by default and by path."""

from __future__ import annotations

import numpy as np
import pytest
from nilearn.datasets import load_mni152_template
from scipy import ndimage

from helpers.heads import painted
from neuroxai.deformation import grid_points, to_voxels
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import write_volume
from neuroxai.preprocess.intensity import is_skull_stripped
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, Volume, mni152


def test_nilearns_lies_on_our_grid():
    template = load_template(spacing=2)
    assert template.t1.space.matches(mni152(2))
    assert template.brain.data.dtype == bool
    assert template.brain.data.sum() * 8 / 1000 == pytest.approx(1883, abs=5)  # ml, as nilearn's mask has at 1 mm
    assert (template.t1.data[~template.brain.data] == 0).all()
    assert template.t1.data[template.brain.data].min() > 0
    assert is_skull_stripped(template.t1)
    # as the file has it at 1 mm, and not mirrored
    image = load_mni152_template(1)
    blurred = ndimage.gaussian_filter(image.get_fdata(), 0.74)
    voxels = to_voxels(Space(image.shape, image.affine), grid_points(template.t1.space))
    there = ndimage.map_coordinates(blurred, voxels, order=1).reshape(template.t1.space.shape)
    inside = template.brain.data & template.brain.data[::-1]
    difference = np.abs(template.t1.data - there)[inside].mean()
    assert difference < 0.02
    assert np.abs(template.t1.data[::-1] - there)[inside].mean() > 2 * difference


def test_by_path(grid, tmp_path):
    brain = painted(grid)
    write_volume(tmp_path / "brain.nii.gz", brain)
    head = Volume(brain.data + np.random.default_rng(1).uniform(0.01, 0.2, grid.shape).astype(np.float32), grid)
    write_volume(tmp_path / "head.nii.gz", head)
    mask = write_volume(tmp_path / "mask.nii.gz", Volume(brain.data > 0.2, grid), dtype=np.uint8)
    stripped = load_template(tmp_path / "brain.nii.gz")
    assert stripped.name == "brain"
    assert stripped.brain.data.sum() > (brain.data > 0.2).sum()
    cut = load_template(tmp_path / "head.nii.gz", mask)
    np.testing.assert_array_equal(cut.brain.data, brain.data > 0.2)
    assert is_skull_stripped(cut.t1)
    with pytest.raises(InputError, match="brain mask must be named"):
        load_template(tmp_path / "head.nii.gz")
    with pytest.raises(InputError, match="without the template"):
        load_template(mask=mask)
    empty = write_volume(tmp_path / "empty.nii.gz", Volume(brain.data * 0 + (brain.data > 9), grid))
    with pytest.raises(InputError, match=r"every voxel has the value 0|no voxel above"):
        load_template(tmp_path / "head.nii.gz", empty)
    other = write_volume(tmp_path / "other.nii.gz", Volume(np.eye(27).reshape(9, 9, 9), Space((9, 9, 9), np.eye(4))))
    with pytest.raises(SpaceError, match="resample the mask"):
        load_template(tmp_path / "head.nii.gz", other)
