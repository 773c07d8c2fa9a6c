"""Labels on other grids against boxes cut out of boxes, one voxel at a time in world coordinates."""

from __future__ import annotations

import time
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from neuroxai import io
from neuroxai.atlas import Atlas, builtin
from neuroxai.masks import mask_in_space
from neuroxai.space import Space, Volume, mni152

CODES = ["".join(c) for p in permutations(("LR", "PA", "IS")) for c in product(*p)]


def grid(shape, spacing, origin):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Space(shape, affine)


def shares(volume, low, high):
    """How much of a box of the world each label fills, with a loop over all voxels; what is left is background."""
    found = {0: 1.0}
    reach = np.abs(volume.space.affine[:3, :3]).sum(axis=1) / 2
    for index in np.ndindex(*volume.data.shape):
        centre = volume.space.affine[:3, :3] @ index + volume.space.affine[:3, 3]
        cut = np.minimum(high, centre + reach) - np.maximum(low, centre - reach)
        if (cut > 0).all():
            share = float(np.prod(cut / (high - low)))
            label = int(volume.data[index])
            found[label] = found.get(label, 0.0) + share
            found[0] -= share
    return found


def oracle(volume, space):
    """The rule as it is told: most of the voxel, then most of the box twice as wide, then the lower value."""
    result = np.zeros(space.shape, volume.data.dtype)
    reach = np.abs(space.affine[:3, :3]).sum(axis=1) / 2
    for index in np.ndindex(*space.shape):
        centre = space.affine[:3, :3] @ index + space.affine[:3, 3]
        inside, around = (shares(volume, centre - w * reach, centre + w * reach) for w in (1, 2))
        tied = [v for v, share in inside.items() if share > max(inside.values()) - 1e-4]
        best = [v for v in tied if around[v] > max(around[t] for t in tied) - 1e-4]
        result[index] = min(best)
    return result


@given(
    old=st.tuples(*[st.sampled_from([1.0, 1.5, 2.0, 3.0])] * 3),
    new=st.tuples(*[st.sampled_from([1.0, 2.0, 2.5, 3.0, 4.0, 6.0])] * 3),
    shift=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, -1.0, 0.3])] * 3),
    codes=st.tuples(st.sampled_from(CODES), st.sampled_from(CODES)),
    seed=st.integers(0, 99),
)
def test_every_spacing_and_orientation_against_boxes_cut_by_hand(old, new, shift, codes, seed):
    data = np.random.default_rng(seed).integers(0, 4, (4, 3, 4)).astype(np.int32) * 100
    volume = Volume(data, grid(data.shape, old, (-3.0, 1.0, 2.0)))
    space = grid((3, 2, 3), new, np.add((-3.0, 1.0, 2.0), shift))
    turned = volume.reoriented(codes[0]).resampled_to(space.reoriented(codes[1]), order=0)
    np.testing.assert_array_equal(turned.reoriented("RAS").data, oracle(volume, space))


@given(
    degrees=st.tuples(*[st.floats(-30, 30)] * 3),
    spacing=st.sampled_from([1.0, 2.0, 4.0]),
    code=st.sampled_from(CODES),
)
def test_oblique_grids_against_many_points(degrees, spacing, code):
    blocks = np.random.default_rng(2).integers(0, 5, (4, 4, 4)).astype(np.int16)
    volume = Volume(blocks.repeat(3, 0).repeat(3, 1).repeat(3, 2), grid((12, 12, 12), (1.5, 1.5, 1.5), (-8, -8, -8)))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = affine[:3, :3] @ [-2.5, -2.5, -2.5] + 0.13
    space = Space((6, 6, 6), affine)
    got = volume.resampled_to(space.reoriented(code), order=0).reoriented(space.orientation).data
    steps = (np.arange(12) + 0.5) / 12 - 0.5
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1).T
    padded = np.pad(volume.data, 20)
    for index in np.ndindex(*space.shape):
        at = np.rint(volume.space.voxels(space.world(np.array(index) + points))).astype(int) + 20
        votes = np.bincount(padded[tuple(at.T)], minlength=5) / len(points)
        # counted at three points an axis or more: what fills nearly as much may win
        assert votes[got[index]] > votes.max() - 0.34


def test_a_turn_too_small_to_see_is_none():
    """Affines in float32: what lies along the axes up to 1e-6 has exact shares, and the ties of exact grids."""
    volume = Volume(np.random.default_rng(0).integers(0, 3, (12, 12, 12)), grid((12, 12, 12), (2, 2, 2), (0, 0, 0)))
    space = grid((6, 6, 6), (4, 4, 4), (1, 1, 1))
    rough = space.affine.copy()
    rough[:3] += np.random.default_rng(1).uniform(-1e-6, 1e-6, (3, 4))
    exact = volume.resampled_to(space, order=0).data
    np.testing.assert_array_equal(volume.resampled_to(Space(space.shape, rough), order=0).data, exact)


def test_ties_know_no_left_and_right():
    """Halves of a voxel: what fills more around it has it, be it left or right, numbered low or high."""
    line = np.array([7, 7, 9, 9, 9, 9, 5, 5])[:, None, None] * np.ones((1, 2, 2), int)
    fine, coarse = grid((8, 2, 2), (1, 1, 1), (0.5, 0.5, 0.5)), grid((3, 1, 1), (2, 2, 2), (2, 1, 1))
    # voxel 0 holds 7 and 9 alike; so does the box around it, and the lower value has it
    assert Volume(line, fine).resampled_to(coarse, order=0).data.ravel().tolist() == [7, 9, 5]
    line[0] = 0
    # now the box around it holds more of 9, and the box around voxel 2 as much of 5 as of 9
    assert Volume(line, fine).resampled_to(coarse, order=0).data.ravel().tolist() == [9, 9, 5]
    mirrored = Volume(line[::-1].copy(), fine).resampled_to(coarse, order=0).data.ravel().tolist()
    assert mirrored == [5, 9, 9]


def test_both_doors_and_all_orientations_score_alike(tmp_path):
    """A map at 4 mm whose voxels' centres lie between those of the 2 mm atlas, by command and in Python."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, (2, 2, 2)).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    atlas = Atlas(labels, {1: "one", 2: "two", 3: "three"}, grid((6, 6, 6), (2, 2, 2), (-5, -5, -5)))
    io.write_volume(tmp_path / "atlas.nii", Volume(atlas.labels, atlas.space), np.int32)
    io.write_text(tmp_path / "atlas.tsv", "index\tname\n1\tone\n2\ttwo\n3\tthree\n")
    space = grid((4, 4, 4), (4, 4, 4), (-7, -6, -5))
    values = Volume(rng.normal(size=space.shape).astype(np.float32), space)
    expected = oracle(Volume(atlas.labels, atlas.space), space)
    np.testing.assert_array_equal(atlas.resampled_to(space).labels, expected)

    from neuroxai.cli.main import app

    codes, table = ("RAS", "LPS", "PIR", "SAL"), tmp_path / "out.tsv"
    maps = [str(io.write_volume(tmp_path / f"sub-{code}_heatmap.nii", values.reoriented(code))) for code in codes]
    result = CliRunner().invoke(
        app, ["score", *maps, "--atlas", str(tmp_path / "atlas.nii"), "--out", str(table), "--json"]
    )
    assert result.exit_code == 0, result.output
    scored = io.read_tsv(table)
    for code in codes:
        rows = scored[scored["participant_id"] == f"sub-{code}"].set_index("name")
        for value, region in atlas.names.items():
            assert int(rows.loc[region, "voxels"]) == (expected == value).sum()
            assert rows.loc[region, "sum"] == pytest.approx(values.data[expected == value].sum(), abs=1e-4)


def test_the_built_in_atlas_is_one_whoever_asks():
    space = mni152(4).reoriented("PIR")
    np.testing.assert_array_equal(builtin(space).labels, builtin().resampled_to(space).labels)
    back = Volume(builtin(space).labels, space).reoriented("RAS").data
    np.testing.assert_array_equal(back, builtin(mni152(4)).labels)


def test_masks_keep_small_pieces():
    fine = np.zeros((12, 12, 12), bool)
    fine[0:4, 0:4, 0:4] = True  # fills a voxel
    fine[5, 5, 5] = True  # fills an eighth of a quarter of one
    fine[7:9, 9:11, 9:11] = True  # lies across two voxels, an eighth of one by its volume: takes the first
    found = mask_in_space(
        Volume(fine, grid(fine.shape, (1, 1, 1), (0, 0, 0))),
        grid((3, 3, 3), (4, 4, 4), (1.5, 1.5, 1.5)),
        keep_small=True,
    )
    assert np.argwhere(found).tolist() == [[0, 0, 0], [1, 1, 1], [1, 2, 2]]


def test_fast():
    labels = builtin().labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    fine = Volume(labels, grid(labels.shape, (1, 1, 1), (-96.5, -130.5, -76.5)))
    start = time.process_time()
    got = fine.resampled_to(mni152(2), order=0)
    assert time.process_time() - start < 1.5  # 0.4 s on two slow cores
    np.testing.assert_array_equal(got.data, builtin().labels)
