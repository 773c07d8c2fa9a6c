from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess.lesions import fill_lesions, lesion_mask
from neuroxai.space import Space, Volume

SHAPE = (14, 16, 12)
AFFINE = np.array([[2.0, 0, 0, -13], [0, 1.5, 0, -9], [0, 0, 3, -17], [0, 0, 0, 1]])
CODES = [
    "".join(pair[k] for pair, k in zip(p, flips, strict=True))
    for p in itertools.permutations(("LR", "PA", "IS"))
    for flips in itertools.product((0, 1), repeat=3)
]


def case(seed=0, dtype=np.float32):
    """Every slice has its own white matter; lesions are far brighter; nothing is symmetric."""
    rng = np.random.default_rng(seed)
    level = 100 + 10 * np.arange(SHAPE[2])
    data = (level + rng.normal(0, 4, SHAPE)).astype(dtype)
    white = np.zeros(SHAPE, dtype=bool)
    white[1:11, 2:14, 1:11] = True
    lesions = np.zeros(SHAPE, dtype=bool)
    lesions[3:6, 4:8, 2:9] = True
    data[lesions] += 500
    space = Space(SHAPE, AFFINE)
    return Volume(data, space), Volume(lesions.astype(np.uint8), space), Volume(white.astype(np.uint8), space)


def test_filled_voxels_follow_each_slices_white_matter_without_lesions():
    scan, lesions, white = case()
    filled = fill_lesions(scan, lesions, white)
    inside, tissue = lesions.data > 0, (white.data > 0) & (lesions.data == 0)
    scores = []
    for z in range(2, 9):
        values = scan.data[..., z][tissue[..., z]].astype(float)
        scores.append((filled.data[..., z][inside[..., z]] - values.mean()) / (values.std() / 2))
    z = np.concatenate(scores)
    assert len(z) == 84
    # 84 draws of N(0, 1): mean within 4 standard errors, spread likewise
    assert abs(z.mean()) < 4 / np.sqrt(84)
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * 84)
    assert filled.data.dtype == scan.data.dtype
    assert filled.space is scan.space


def test_the_published_variant_leaves_lesions_in_the_white_matter():
    scan, lesions, white = case()
    filled = fill_lesions(scan, lesions, white, variant="eitel2019")
    where = lesion_mask(scan.space, lesions, "eitel2019")
    for z in range(3, 8):
        tissue = scan.data[..., z][white.data[..., z] > 0].astype(float)
        drawn = filled.data[..., z][where[..., z]]
        # lesions raise mean and spread: 12 of 120 voxels are 500 brighter
        assert abs(drawn.mean() - tissue.mean()) < 4 * (tissue.std() / 2) / np.sqrt(drawn.size)
        assert tissue.std() > 100
        assert drawn.std() > 40


@pytest.mark.parametrize("variant", ["valverde", "eitel2019"])
@given(seed=st.integers(0, 99), dilation=st.sampled_from([0.0, 2.0, 4.5]))
def test_no_bit_changes_outside_the_mask(variant, seed, dilation):
    scan, _, white = case(seed)
    rng = np.random.default_rng(seed)
    lesions = Volume(rng.random(SHAPE) < 0.01, scan.space)
    where = lesion_mask(scan.space, lesions, variant, dilation)
    before = scan.data.copy()
    filled = fill_lesions(scan, lesions, white, seed, variant, dilation)
    np.testing.assert_array_equal(filled.data[~where].view(np.uint32), before[~where].view(np.uint32))
    np.testing.assert_array_equal(scan.data, before)
    if where.any():
        assert (filled.data[where] != before[where]).any()


@pytest.mark.parametrize("variant", ["valverde", "eitel2019"])
def test_any_orientation_is_filled_alike(variant):
    scan, lesions, white = case()
    expected = fill_lesions(scan, lesions, white, variant=variant).data
    for code in CODES:
        turned = fill_lesions(scan.reoriented(code), lesions.reoriented(code), white.reoriented(code), variant=variant)
        assert turned.space.orientation == code
        np.testing.assert_array_equal(turned.reoriented("RAS").data, expected)
    # masks may be stored otherwise than the scan
    mixed = fill_lesions(scan.reoriented("LPS"), lesions.reoriented("ASR"), white.reoriented("PIR"), variant=variant)
    np.testing.assert_array_equal(mixed.reoriented("RAS").data, expected)


def test_an_oblique_scans_axial_slices_are_those_of_its_own_axis():
    scan, lesions, white = case()
    c, s = np.cos(0.35), np.sin(0.35)
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    space = Space(SHAPE, turn @ AFFINE)
    oblique = fill_lesions(Volume(scan.data, space), Volume(lesions.data, space), white.data)
    np.testing.assert_array_equal(oblique.data, fill_lesions(scan, lesions, white).data)


def test_seeds():
    scan, lesions, white = case()
    first, again, other = (fill_lesions(scan, lesions, white, seed).data for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other)[lesions.data > 0].mean() > 0.99
    # a slice's draw does not depend on what other slices hold
    part = lesions.data.copy()
    part[..., :5] = 0
    np.testing.assert_array_equal(fill_lesions(scan, Volume(part, scan.space), white, 3).data[..., 5:], first[..., 5:])


def test_a_slice_without_white_matter_takes_the_nearest_that_has_it():
    scan, lesions, white = case()
    thin = white.data.copy()
    thin[..., :6] = 0
    thin[:2, :3, 4] = 1  # too few to tell a spread
    filled = fill_lesions(scan, lesions, Volume(thin, scan.space))
    drawn = filled.data[..., 2][lesions.data[..., 2] > 0]
    # slice 6 has a level of 160, slice 2 itself 120
    assert abs(drawn.mean() - 160) < 3


def test_whole_numbers_stay_whole_and_in_range():
    scan, lesions, white = case(dtype=np.float32)
    small = Volume(np.clip(scan.data, 0, 255).astype(np.uint8), scan.space)
    filled = fill_lesions(small, lesions, white)
    assert filled.data.dtype == np.uint8
    inside = lesions.data > 0
    assert filled.data[inside].max() < 230
    assert (filled.data[~inside] == small.data[~inside]).all()


def test_probabilities_count_above_a_half():
    scan, lesions, white = case()
    soft = np.where(white.data > 0, 0.51, 0.5).astype(np.float32)
    expected = fill_lesions(scan, lesions, white).data
    np.testing.assert_array_equal(fill_lesions(scan, lesions, Volume(soft, scan.space)).data, expected)
    np.testing.assert_array_equal(fill_lesions(scan, lesions, soft).data, expected)


def test_a_healthy_scan_comes_back_as_it_is():
    scan, _, white = case()
    nothing = Volume(np.zeros(SHAPE), scan.space)
    for variant in ("valverde", "eitel2019"):
        np.testing.assert_array_equal(fill_lesions(scan, nothing, white, variant=variant).data, scan.data)


def test_the_published_mask_by_hand():
    """Counted voxel by voxel: neighbours that share a face or an edge, and the voxel itself."""
    rng = np.random.default_rng(5)
    space = Space((8, 9, 7), np.eye(4))
    mask = rng.random(space.shape) < 0.15
    mask[2:5, 2:5, 2:5] = True
    padded = np.pad(mask, 1).astype(int)
    counts = np.zeros(space.shape, int)
    for step in itertools.product((-1, 0, 1), repeat=3):
        if np.abs(step).sum() < 3:
            counts += padded[tuple(slice(1 + d, 1 + d + n) for d, n in zip(step, space.shape, strict=True))]
    expected = counts >= counts.max() / 8
    assert counts.max() == 19
    found = lesion_mask(space, Volume(mask.astype(np.uint8), space), "eitel2019")
    np.testing.assert_array_equal(found, expected)
    # eight voxels in one plane: at most 8 neighbours, so a single one is exactly an eighth and kept
    plate = np.zeros(space.shape)
    plate[2:5, 2:5, 3] = 1
    plate[4, 4, 3] = 0
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if np.abs(s).sum() < 3]
    neighbours = sum(np.roll(plate, step, (0, 1, 2)) for step in steps)
    assert neighbours.max() == 8
    np.testing.assert_array_equal(lesion_mask(space, Volume(plate, space), "eitel2019"), neighbours >= 1)
    alone = np.zeros(space.shape)
    alone[2:5, 2:5, 2:5] = 1
    alone[7, 8, 6] = 1
    assert not lesion_mask(space, Volume(alone, space), "eitel2019")[7, 8, 6]


def test_dilation_is_in_millimetres():
    space = Space(SHAPE, AFFINE)
    mask = np.zeros(SHAPE)
    mask[7, 8, 6] = 1
    found = np.argwhere(lesion_mask(space, Volume(mask, space), dilation=3.0))
    distance = np.linalg.norm((found - (7, 8, 6)) * (2.0, 1.5, 3.0), axis=1)
    assert distance.max() == 3
    # everything within 3 mm: 7 in the slice's middle row and so on, counted by distance
    everything = np.stack(np.indices(SHAPE), -1).reshape(-1, 3)
    assert len(found) == (np.linalg.norm((everything - (7, 8, 6)) * (2.0, 1.5, 3.0), axis=1) <= 3).sum()


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_mask_on_another_grid_covers_the_same_world(zoom):
    space = Space((24, 24, 24), np.diag([1.0, 1.0, 1.0, 1.0]))
    scale = np.diag([zoom, zoom, zoom, 1.0])
    scale[:3, 3] = (zoom - 1) / 2
    other = Space([round(24 / zoom)] * 3, scale)
    x, y, z = np.indices(other.shape) * zoom
    ball = (x - 8) ** 2 + (y - 14) ** 2 + (z - 11) ** 2 < 25
    found = lesion_mask(space, Volume(ball, other))
    centre = np.argwhere(found).mean(0)
    np.testing.assert_allclose(centre, (8, 14, 11), atol=1)
    volume = ball.sum() * zoom**3
    assert found.sum() == pytest.approx(volume, rel=0.1)
    # a single voxel of a finer mask is not lost, nor any of many
    dot = np.zeros(other.shape)
    dot[3, 5, 7] = 1
    voxel = np.rint(space.voxels(other.world((3, 5, 7)))).astype(int)
    assert lesion_mask(space, Volume(dot, other))[tuple(voxel)]
    specks = ball.astype(np.uint8)
    specks[::4, ::4, ::4] = 1
    many = lesion_mask(space, Volume(specks, other))
    assert many[found].all()
    index = np.rint(space.voxels(other.world(np.argwhere(specks)))).astype(int)
    assert (many[tuple(index.T)]).mean() > 0.6
    assert many.sum() < 1.2 * found.sum() + (specks > ball).sum() * max(1.0, zoom**3)


def test_refusals():
    scan, lesions, white = case()
    with pytest.raises(InputError, match="unknown variant of lesion filling 'slf'"):
        fill_lesions(scan, lesions, white, variant="slf")
    with pytest.raises(InputError, match="holds values from"):
        fill_lesions(scan, Volume(scan.data, scan.space), white)
    with pytest.raises(InputError, match="NaN"):
        fill_lesions(scan, Volume(np.full(SHAPE, np.nan), scan.space), white)
    with pytest.raises(InputError, match="is it inverted"):
        fill_lesions(scan, Volume(1 - lesions.data, scan.space), white)
    with pytest.raises(InputError, match=r"dilation is -1 mm"):
        fill_lesions(scan, lesions, white, dilation=-1)
    away = AFFINE.copy()
    away[0, 3] += 100
    with pytest.raises(SpaceError, match=r"\d+ of 84 lesion voxels lie outside the scan"):
        fill_lesions(scan, Volume(lesions.data, Space(SHAPE, away)), white)
    with pytest.raises(InputError, match="no axial slice has 20 voxels of white matter"):
        fill_lesions(scan, lesions, Volume(np.zeros(SHAPE), scan.space))
    with pytest.raises(InputError, match="no axial slice has 20"):
        # white matter that is lesion everywhere
        fill_lesions(scan, lesions, lesions)
    with pytest.raises(SpaceError, match=r"shape \(2, 2, 2\), the scan"):
        fill_lesions(scan, lesions, np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="white matter"):
        fill_lesions(scan, lesions, scan)


def test_255_is_a_mask_too():
    scan, lesions, white = case()
    bright = Volume(lesions.data * np.uint8(255), scan.space)
    np.testing.assert_array_equal(fill_lesions(scan, bright, white).data, fill_lesions(scan, lesions, white).data)
