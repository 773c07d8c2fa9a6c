from __future__ import annotations

import numpy as np
import pytest

from neuroxai.errors import InputError, SpaceError
from neuroxai.io import write_volume
from neuroxai.simulate import Anatomy, ScanOptions, mni152_anatomy, simulate_cohort, simulate_scan
from neuroxai.simulate.effects import transplant
from neuroxai.simulate.effects.transplant import RealLesions, read_masks
from neuroxai.simulate.scan import Acquisition
from neuroxai.space import Space, Volume, mni152


def blob(centre, radius, space):
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij"), -1)
    return np.linalg.norm(space.world(grid) - centre, axis=-1) < radius


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two masks, left and far in front, one stored LAS and one RAS, at 2 mm."""
    made = tmp_path_factory.mktemp("masks")
    space = mni152(2)
    one = Volume(blob((-26, -30, 26), 7, space).astype(np.uint8), space).reoriented("LAS")
    two = Volume(blob((-24, 26, 16), 6, space).astype(np.uint8), space)
    write_volume(made / "a.nii.gz", one, np.uint8)
    write_volume(made / "b.nii.gz", two, np.uint8)
    return made


@pytest.fixture(scope="module")
def anatomy():
    """The template at 2 mm."""
    full, space = mni152_anatomy(), mni152(2)
    t1, gm, wm, brain = (
        Volume(m.astype(np.float32), full.space).resampled_to(space).data
        for m in (full.t1, full.gm, full.wm, full.brain)
    )
    return Anatomy("template at 2 mm", space, t1, gm, wm, brain > 0.5)


@pytest.fixture(scope="module")
def effect(folder, anatomy):
    return RealLesions(anatomy, read_masks(folder)[0])


def where(effect, planted):
    share = planted.opacity
    world = effect.anatomy.space.world(np.argwhere(share > 0.25))
    return world.mean(0)


def test_masks_land_where_they_were_drawn_on_either_side(effect):
    found = {}
    for seed in range(12):
        planted = effect.plant(np.random.default_rng(seed), True)
        x, y, z = where(effect, planted)
        mask, mirrored = planted.columns["lesion_mask"], planted.columns["lesion_mirrored"]
        found.setdefault((mask, mirrored), []).append((x, y, z))
        wanted = {1.0: (-26, -30, 26), 2.0: (-24, 26, 16)}[mask] * np.array([-1 if mirrored else 1, 1, 1])
        np.testing.assert_allclose((x, y, z), wanted, atol=6)
        assert planted.columns["dose"] > 0.05
        assert 1.4 <= planted.brightness <= 1.7
    assert len(found) == 4
    # bent a little, and each time in another way
    assert np.std([p for places in found.values() for p in np.array(places) - np.mean(places, 0)]) > 0.2


def test_mirroring_is_exact_where_nothing_bends(folder, anatomy, monkeypatch):
    monkeypatch.setattr(transplant, "BEND", (12.0, 0.0))
    white = anatomy.brain.astype(np.float32)
    even = Anatomy("even", anatomy.space, anatomy.t1, anatomy.gm, white, anatomy.brain)
    effect = RealLesions(even, read_masks(folder)[0])
    pairs = {}
    for seed in range(8):
        planted = effect.plant(np.random.default_rng(seed), True)
        if planted.columns["lesion_mask"] == 1:
            pairs[planted.columns["lesion_mirrored"]] = planted.opacity
    assert set(pairs) == {0.0, 1.0}
    points = effect.anatomy.space.world(np.argwhere(pairs[0.0] > 0.3))
    voxels = np.rint(effect.anatomy.space.voxels(points * (-1, 1, 1))).astype(int)
    assert (pairs[1.0][tuple(voxels.T)] > 0.1).all()
    assert not (pairs[1.0] > 0.1)[pairs[0.0] > 0.1].any()


def test_lesions_stay_in_white_matter_and_shams_get_none(effect):
    for seed in range(2):
        ill, well = (effect.plant(np.random.default_rng(seed), present) for present in (True, False))
        assert not well.opacity.any()
        assert well.columns["dose"] == well.columns["lesion_count"] == well.columns["lesion_mask"] == 0
        assert well.brightness == ill.brightness
        lesion = ill.opacity > 0.25
        assert effect.anatomy.wm[lesion].min() > 0.3
        assert (ill.opacity[effect.anatomy.wm < 0.2] == 0).all()


def test_a_patient_differs_from_its_sham_inside_the_mask(effect, seed):
    acquisition = Acquisition(effect, mni152(4))
    ill, well = (simulate_scan(acquisition, seed, present) for present in (True, False))
    np.testing.assert_array_equal(ill.image[ill.opacity == 0], well.image[ill.opacity == 0])
    assert (ill.image[ill.mask] > well.image[ill.mask]).mean() > 0.95


def test_a_cohort_on_the_template(folder, tmp_path):
    summary = simulate_cohort(tmp_path / "c", "lesions", 2, 8, seed=3, scan_options=ScanOptions(masks=folder))
    assert summary.failed == []
    again = simulate_cohort(tmp_path / "c", "lesions", 2, 8, seed=3, scan_options=ScanOptions(masks=folder))
    assert (again.made, again.kept) == (0, 2)
    with pytest.raises(InputError, match=r"was made with masks '.*', now None"):
        simulate_cohort(tmp_path / "c", "lesions", 2, 8, seed=3)
    with pytest.raises(InputError, match="--effect lesions, got 'atrophy'"):
        simulate_cohort(tmp_path / "d", "atrophy", 2, 8, scan_options=ScanOptions(masks=folder))


def test_what_is_no_folder_of_masks(tmp_path, folder, anatomy):
    with pytest.raises(InputError, match="no such folder"):
        read_masks(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no NIfTI file"):
        read_masks(tmp_path)
    space = mni152(8)
    write_volume(tmp_path / "empty.nii.gz", Volume(np.zeros(space.shape, np.uint8), space), np.uint8)
    with pytest.raises(InputError, match=r"empty\.nii\.gz: no voxel is above 0\.5"):
        read_masks(tmp_path)
    far = Space((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]) + np.pad(np.full((3, 1), 200.0), ((0, 1), (3, 0))))
    write_volume(tmp_path / "empty.nii.gz", Volume(np.ones(far.shape, np.uint8), far), np.uint8)
    with pytest.raises(SpaceError, match="outside the brain's place"):
        read_masks(tmp_path)
    space = mni152(4)
    outside = RealLesions(anatomy, [Volume(blob((0, 78, -40), 5, space).astype(np.float32), space)])
    with pytest.raises(InputError, match=r"leave under 0\.05 ml"):
        outside.plant(np.random.default_rng(0), True)


@pytest.mark.full(2)
@pytest.mark.real
def test_real_masks_keep_their_side_and_most_of_their_load(real_data, anatomy):
    masks, files = read_masks(real_data / "lesions" / "open_ms_mni")
    assert len(files) == 18
    effect = RealLesions(anatomy, masks)
    shares, away = [], []
    for seed in range(9):
        planted = effect.plant(np.random.default_rng(seed), True)
        mask = masks[int(planted.columns["lesion_mask"]) - 1]
        load = mask.data.sum() * mask.space.voxel_volume / 1000
        shares.append(planted.columns["dose"] / load)
        centre = mask.space.world(np.argwhere(mask.data > 0.5)).mean(0)
        side = -1 if planted.columns["lesion_mirrored"] else 1
        away.append(np.abs(where(effect, planted) - centre * (side, 1, 1)))
    # what lies in the cortex or in fluid is lost, which moves the centre of a small load
    assert np.max(away, axis=0)[0] < 8
    assert np.median(away, axis=0).max() < 6
    assert 0.4 < np.median(shares) < 1.1
