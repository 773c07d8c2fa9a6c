from __future__ import annotations

import numpy as np
import pytest

from neuroxai.simulate.effects.lesions import LOAD_RANGE


@pytest.fixture(scope="module")
def planted(lesions):
    return [lesions.plant(np.random.default_rng(i), True) for i in range(6)]


def test_load_is_what_was_drawn(lesions, planted):
    for one in planted:
        assert LOAD_RANGE[0] <= one.columns["dose"] <= LOAD_RANGE[1]
        laid = float(one.opacity.sum(dtype=np.float64)) * lesions.anatomy.space.voxel_volume / 1000
        assert laid == pytest.approx(one.columns["dose"], rel=0.1, abs=0.3)
    assert len({one.columns["dose"] for one in planted}) == 6


def test_lesions_lie_in_white_matter_mostly_near_the_ventricles(lesions, planted):
    anatomy = lesions.anatomy
    total = sum(one.opacity for one in planted)
    assert total[~anatomy.brain].sum() == 0
    assert (total * anatomy.wm).sum() / total.sum() > 0.75
    z = (np.arange(total.shape[2]) * anatomy.space.affine[2, 2]) + anatomy.space.affine[2, 3]
    assert total[:, :, z < -20].sum() < 0.01 * total.sum()
    from scipy import ndimage

    from neuroxai.simulate import regions

    ventricle = sum(regions.lateral_ventricle(anatomy, s) for s in (-1, 1)) > 0.5
    distance = ndimage.distance_transform_edt(~ventricle[::2, ::2, ::2], sampling=2.0)
    coarse = total[::2, ::2, ::2]
    near = (coarse * (distance < 10)).sum() / coarse.sum()
    white = anatomy.wm[::2, ::2, ::2] > 0.7
    by_chance = (white & (distance < 10)).sum() / white.sum()
    assert near > 0.4
    assert near > 2 * by_chance


def test_edges_are_soft(planted):
    opacity = planted[0].opacity
    assert opacity.min() >= 0
    assert opacity.max() <= 1
    touched = opacity > 0
    assert ((opacity > 0.05) & (opacity < 0.95)).sum() > 0.2 * touched.sum()


def test_a_sham_has_the_same_draws_and_no_lesion(lesions):
    one, two = np.random.default_rng(4), np.random.default_rng(4)
    lesions.plant(one, True)
    sham = lesions.plant(two, False)
    assert not sham.opacity.any()
    assert sham.columns == {"dose": 0.0, "lesion_count": 0.0}
    assert one.bit_generator.state == two.bit_generator.state


@pytest.mark.real
def test_lesions_lie_where_real_lesions_lie(lesions, planted, real_data):
    """The distance to the ventricle of simulated lesion tissue lies in the range of the real patients' (Lesjak)."""
    from scipy import ndimage

    from neuroxai.io import read_labels
    from neuroxai.simulate import regions
    from neuroxai.space import Volume

    anatomy = lesions.anatomy
    ventricle = sum(regions.lateral_ventricle(anatomy, s) for s in (-1, 1)) > 0.5
    distance = ndimage.distance_transform_edt(~ventricle[::2, ::2, ::2], sampling=2.0)
    real = []
    for file in sorted((real_data / "lesions" / "open_ms_mni").glob("*_lesions_MNI1mm.nii.gz")):
        mask = read_labels(file)
        found = Volume((mask.data > 0).astype(np.uint8), mask.space).resampled_to(anatomy.space, order=0).data > 0
        real.append(float(np.median(distance[found[::2, ::2, ::2]])))
    assert len(real) >= 3
    ours = np.median(np.concatenate([distance[one.opacity[::2, ::2, ::2] > 0.5] for one in planted]))
    assert 0.4 * min(real) < ours < 2.5 * max(real)
