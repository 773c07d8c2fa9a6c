from __future__ import annotations

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from neuroxai.atlas import Atlas, RegionScorer, load, score
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_labels
from neuroxai.space import Space, Volume

VALUES = (0, 3, 130, 255, 40000, 2_000_000)


def space_of(shape):
    return Space(shape, np.diag([-2.0, 2, 2, 1]))


def oracle(atlas, maps):
    """Sums voxel by voxel in Python floats, which are float64."""
    rows = {m: np.zeros((len(maps), len(atlas.names))) for m in ("sum", "absolute", "positive", "negative", "voxels")}
    place = {value: i for i, value in enumerate(atlas.names)}
    for b, one in enumerate(maps):
        for index in np.ndindex(*atlas.space.shape):
            label = int(atlas.labels[index])
            if label:
                x, r = float(one[index]), place[label]
                rows["sum"][b, r] += x
                rows["absolute"][b, r] += abs(x)
                rows["positive"][b, r] += max(x, 0.0)
                rows["negative"][b, r] += min(x, 0.0)
                rows["voxels"][b, r] += 1
    with np.errstate(invalid="ignore"):
        rows["density"] = rows["sum"] / rows["voxels"]
    return rows


INTEGERS = ("u1", "i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">u4", "<i4", ">i4", "<i8", ">i8", "<u8", ">u8")
shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)


@given(
    data=st.data(),
    shape=shapes,
    batch=st.integers(1, 3),
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int16]),
)
def test_equals_a_loop_over_voxels(data, shape, batch, dtype):
    labels = data.draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(VALUES)))
    elements = (
        st.integers(-30000, 30000)
        if dtype == np.int16
        else st.floats(-1000, 1000, width=16 if dtype == np.float16 else 32)
    )
    maps = data.draw(hnp.arrays(dtype, (batch, *shape), elements=elements))
    # every name is kept, whichever labels the draw lacks
    atlas = Atlas(labels, {v: f"r{v}" for v in VALUES[1:]}, space_of(shape))
    scores = RegionScorer(atlas)(torch.from_numpy(maps)[:, None])
    for measure, wanted in oracle(atlas, maps).items():
        got = getattr(scores, measure)
        assert got.dtype == torch.float64
        assert got.shape == (batch, 5)
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12, atol=1e-9, err_msg=measure)


@given(data=st.data(), shape=shapes, kind=st.sampled_from(INTEGERS), storage=st.sampled_from(["C", "F"]))
def test_any_integer_type_of_labels_equals_the_loop_and_scipy(data, shape, kind, storage):
    highest = min(int(np.iinfo(kind).max), np.iinfo(np.int32).max)
    values = sorted(data.draw(st.sets(st.integers(1, highest), min_size=1, max_size=6)))
    labels = np.array(data.draw(hnp.arrays(np.int64, shape, elements=st.sampled_from([0, *values]))), dtype=kind)
    heatmap = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(-1000, 1000, width=32)))
    atlas = Atlas(np.asarray(labels, order=storage), {v: f"r{v}" for v in values}, space_of(shape))
    scores = RegionScorer(atlas)(torch.from_numpy(heatmap)[None, None])
    assert scores.index == tuple(values)
    wanted = ndimage.sum_labels(heatmap.astype(np.float64), labels.astype(np.int64), values)
    np.testing.assert_allclose(scores.sum.numpy()[0], wanted, rtol=1e-12, atol=1e-9)
    for measure, rows in oracle(atlas, heatmap[None]).items():
        np.testing.assert_allclose(getattr(scores, measure).numpy(), rows, rtol=1e-12, atol=1e-9, err_msg=measure)


def test_blocks_do_not_show(rng, monkeypatch):
    atlas = Atlas(rng.integers(0, 6, (9, 8, 7)), {v: f"r{v}" for v in range(1, 6)}, space_of((9, 8, 7)))
    maps = torch.from_numpy(rng.normal(size=(2, 1, 9, 8, 7)))
    whole = RegionScorer(atlas)(maps)
    for size in (1, 7, 100):
        monkeypatch.setattr(score, "BLOCK", size)
        torch.testing.assert_close(RegionScorer(atlas)(maps).sum, whole.sum, rtol=1e-12, atol=1e-12)


def test_atlas_without_a_labelled_voxel():
    atlas = Atlas(np.zeros((2, 1, 1), int), {4: "a"}, space_of((2, 1, 1)))
    scores = RegionScorer(atlas)(torch.ones(2, 1, 2, 1, 1))
    assert scores.sum.tolist() == [[0], [0]]
    assert torch.isnan(scores.density).all()


def halves():
    """Left and right blocks in MNI152 mm at 4 mm, RAS."""
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-62, -90, -50)
    space = Space((32, 36, 26), affine)
    world = space.world(np.moveaxis(np.indices(space.shape), 0, -1))
    labels = np.where(np.abs(world[..., 0]) < 40, np.where(world[..., 0] < 0, 17, 53), 0)
    labels[np.abs(world[..., 1] + 20) > 40] = 0
    labels[np.abs(world[..., 2]) > 30] = 0
    return Atlas(labels, {17: "Left Hippocampus", 53: "Right Hippocampus"}, space)


def scan_space(turn):
    """A scan's grid: axes (P, I, R), 3 x 3.5 x 2.5 mm, turned by some degrees about all axes."""
    matrix = np.array([[0, 0, 2.5], [-3.0, 0, 0], [0, -3.5, 0]])
    for axis, angle in enumerate(np.deg2rad(turn)):
        one = np.eye(3)
        j, k = (i for i in range(3) if i != axis)
        one[[j, j, k, k], [j, k, j, k]] = (np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
        matrix = one @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix
    shape = np.array((48, 36, 52))
    affine[:3, 3] = (0, -20, 0) - matrix @ ((shape - 1) / 2)
    return Space(shape.tolist(), affine)


@pytest.mark.parametrize("turn", [pytest.param((0, 0, 0), marks=pytest.mark.full(0)), (12, -9, 17)])
def test_native_scores_of_an_oblique_flipped_scan(turn):
    atlas, scan = halves(), scan_space(turn)
    assert scan.orientation == "PIR"
    world = scan.world(np.moveaxis(np.indices(scan.shape), 0, -1))
    # relevance on the left alone, rising to the front
    heatmap = np.where(world[..., 0] < 0, world[..., 1] + 100, 0)
    scores = RegionScorer(atlas.resampled_to(scan))(torch.from_numpy(heatmap)[None, None])
    # oracle: the points of each voxel of the scan ask the atlas at their places, and vote
    votes = np.zeros((3, *scan.shape))
    for point in product((np.arange(6) + 0.5) / 6 - 0.5, repeat=3):
        places = atlas.space.voxels(scan.world(np.moveaxis(np.indices(scan.shape), 0, -1) + np.array(point)))
        near = np.floor(places + 0.5).astype(int)
        within = ((near >= 0) & (near < atlas.space.shape)).all(axis=-1)
        label = np.zeros(scan.shape, dtype=int)
        label[within] = atlas.labels[tuple(near[within].T)]
        for number, value in enumerate((0, 17, 53)):
            votes[number] += label == value
    chosen = votes.argmax(axis=0)
    found = np.array([[heatmap[chosen == n].sum(), (chosen == n).sum()] for n in (1, 2)])
    assert np.abs(scores.voxels[0].numpy() - found[:, 1]).max() <= 2e-3 * found[:, 1].min()
    np.testing.assert_allclose(scores.sum[0].numpy() / found[0, 0], found[:, 0] / found[0, 0], atol=4e-3)
    # left is left, and volumes are kept: within 2 % where the edges cross the voxels at all depths
    assert scores.density[0, 0] > 60
    assert scores.density[0, 1] < 1
    volumes = scores.voxels[0].numpy() * scan.voxel_volume
    # blocks of 40 x 80 x 64 mm; along each axis of the scan a face may move by half a voxel
    one_layer = 2.5 / 40 + 3 / 80 + 3.5 / 64
    np.testing.assert_allclose(
        volumes, atlas.counts() * atlas.space.voxel_volume, rtol=one_layer if turn == (0, 0, 0) else 0.02
    )


def test_a_flipped_and_permuted_scan_has_the_very_same_scores(rng):
    atlas = halves()
    heatmap = Volume(rng.normal(size=atlas.space.shape), atlas.space)
    turned = heatmap.reoriented("PIL")
    here = RegionScorer(atlas)(torch.from_numpy(heatmap.data)[None, None])
    there = RegionScorer(atlas.resampled_to(turned.space))(torch.from_numpy(turned.data.copy())[None, None])
    assert torch.equal(there.voxels, here.voxels)
    torch.testing.assert_close(there.sum, here.sum, rtol=1e-12, atol=1e-9)


def test_absent_labels_keep_their_place():
    labels = np.array([2, 2, 0, 4]).reshape(4, 1, 1)
    atlas = Atlas(labels, {1: "a", 2: "b", 3: "c", 4: "d"}, space_of((4, 1, 1)))
    scores = RegionScorer(atlas)(torch.tensor([1.0, -3.0, 50.0, 7.0]).reshape(1, 1, 4, 1, 1))
    assert scores.names == ("a", "b", "c", "d")
    assert scores.sum.tolist() == [[0, -2, 0, 7]]
    assert scores.voxels.tolist() == [[0, 2, 0, 1]]
    assert torch.isnan(scores.density[0, [0, 2]]).all()
    assert scores.density[0, [1, 3]].tolist() == [-1, 7]


def test_accumulates_in_float64():
    # 2**24 + 1 has no float32
    atlas = Atlas(np.ones((1, 1, 1001), dtype=np.int32), {1: "all"}, space_of((1, 1, 1001)))
    heatmap = torch.ones(1, 1, 1, 1, 1001)
    heatmap[..., 0] = 2**24
    assert RegionScorer(atlas)(heatmap).sum.item() == 2**24 + 1000


def test_order_of_batch_and_layout_of_memory_do_not_matter(rng):
    atlas = Atlas(rng.integers(0, 4, (4, 5, 6)), {1: "a", 2: "b", 3: "c"}, space_of((4, 5, 6)))
    maps = torch.from_numpy(rng.normal(size=(3, 1, 4, 5, 6)))
    scorer = RegionScorer(atlas)
    plain = scorer(maps)
    last = scorer(maps.contiguous(memory_format=torch.channels_last_3d))
    view = scorer(maps.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2))
    assert torch.equal(plain.sum, last.sum)
    assert torch.equal(plain.sum, view.sum)
    assert torch.equal(scorer(maps[[2]]).sum[0], plain.sum[2])


def test_wrong_shape_names_both():
    scorer = RegionScorer(Atlas(np.ones((2, 3, 4), int), {1: "a"}, space_of((2, 3, 4))))
    for shape in ((1, 1, 4, 3, 2), (1, 2, 2, 3, 4), (2, 3, 4), (1, 2, 3, 4)):
        with pytest.raises(SpaceError) as error:
            scorer(torch.zeros(shape))
        assert str(shape) in str(error.value)
        assert "(batch, 1, 2, 3, 4)" in str(error.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("voxel", [0, 1])
def test_non_finite_heatmaps_are_refused_also_outside_regions(bad, voxel):
    scorer = RegionScorer(Atlas(np.array([0, 1]).reshape(2, 1, 1), {1: "a"}, space_of((2, 1, 1))))
    maps = torch.zeros(3, 1, 2, 1, 1)
    maps[1, 0, voxel] = bad
    with pytest.raises(InputError, match="heatmap 1 of the batch holds 1 NaN or infinite"):
        scorer(maps)


def test_huge_finite_values_are_not_taken_for_infinite():
    scorer = RegionScorer(Atlas(np.ones((2, 1, 1), int), {1: "a"}, space_of((2, 1, 1))))
    big = torch.full((1, 1, 2, 1, 1), torch.finfo(torch.float32).max)
    assert scorer(big).sum.item() == 2 * float(torch.finfo(torch.float32).max)


def test_gradients_and_checkpoints_stay_out_of_it():
    scorer = RegionScorer(Atlas(np.ones((2, 1, 1), int), {1: "a"}, space_of((2, 1, 1))))
    heatmap = torch.ones(1, 1, 2, 1, 1, requires_grad=True)
    assert not scorer(heatmap).sum.requires_grad
    assert scorer.state_dict() == {}


def test_frames():
    atlas = Atlas(np.array([7, 9, 9]).reshape(3, 1, 1), {7: "a", 8: "none", 9: "b"}, space_of((3, 1, 1)))
    maps = torch.tensor([[1.0, 2.0, -4.0], [0.0, 5.0, 5.0]]).reshape(2, 1, 3, 1, 1)
    scores = RegionScorer(atlas)(maps)
    long = scores.to_frame(["sub-02", "sub-01"])
    columns = ["index", "name", "sum", "absolute", "positive", "negative", "density", "voxels"]
    assert list(long.columns) == ["participant_id", *columns]
    assert long["participant_id"].tolist() == ["sub-02"] * 3 + ["sub-01"] * 3
    row = long[(long["participant_id"] == "sub-02") & (long["name"] == "b")].iloc[0]
    assert row[columns].tolist() == [9, "b", -2.0, 6.0, 2.0, -4.0, -1.0, 2]
    assert long["voxels"].dtype == np.int64
    wide = scores.to_frame(["sub-02", "sub-01"], wide="sum")
    assert wide.to_dict("list") == {
        "participant_id": ["sub-02", "sub-01"],
        "a": [1.0, 0.0],
        "none": [0, 0],
        "b": [-2, 10],
    }
    assert list(RegionScorer(atlas)(maps[:1]).to_frame().columns) == columns
    with pytest.raises(InputError, match="2 scans"):
        scores.to_frame()
    with pytest.raises(InputError, match="1 identifiers for 2 scans"):
        scores.to_frame(["x"])
    with pytest.raises(InputError, match="unknown measure 'mean'"):
        scores.to_frame(["x", "y"], wide="mean")


def test_atlas_room_needs_no_torch():
    code = "import sys, neuroxai.atlas; assert 'torch' not in sys.modules; assert 'nilearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_equals_cpu(rng):
    atlas = Atlas(rng.integers(0, 141, (60, 60, 60)), {v: f"r{v}" for v in range(1, 141)}, space_of((60, 60, 60)))
    maps = torch.from_numpy(rng.normal(size=(4, 1, 60, 60, 60)).astype(np.float32))
    scorer = RegionScorer(atlas)
    cpu, gpu = scorer(maps), scorer.to("cuda")(maps.to("cuda"))
    torch.testing.assert_close(gpu.sum.cpu(), cpu.sum, rtol=1e-12, atol=1e-9)
    assert gpu.sum.is_cuda


# what the others hold is named by value: names play no part in sums
REAL = (
    "labels_Neuromorphometrics",
    "JHU-ICBM-labels-2mm",
    "JHU-ICBM-tracts-maxprob-thr25-2mm",
    "HarvardOxford-cort-maxprob-thr25-2mm",
    "HarvardOxford-sub-maxprob-thr25-2mm",
    "MNI-maxprob-thr25-2mm",
)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_equals_nilearn_and_scipy_on_a_real_atlas(real_data, rng, name):
    from nilearn.image import new_img_like
    from nilearn.maskers import NiftiLabelsMasker

    path = real_data / "atlases" / f"{name}.nii.gz"
    table = {"JHU-ICBM-labels-2mm": real_data / "atlases" / "JHU-labels.xml"}.get(name)
    atlas = load(path, table)
    maps = rng.normal(size=(2, *atlas.space.shape)).astype(np.float64)
    scores = RegionScorer(atlas)(torch.from_numpy(maps)[:, None])
    masker = NiftiLabelsMasker(str(path), strategy="sum", standardize=None, keep_masked_labels=True, reports=False)
    theirs = masker.fit_transform(new_img_like(str(path), np.moveaxis(maps, 0, -1), copy_header=False))
    np.testing.assert_allclose(scores.sum.numpy(), theirs, rtol=1e-9, atol=1e-9)
    for heatmap, row in zip(maps, scores.sum.numpy(), strict=True):
        wanted = ndimage.sum_labels(heatmap, read_labels(path).data, list(atlas.names))
        np.testing.assert_allclose(row, wanted, rtol=1e-9, atol=1e-9)
