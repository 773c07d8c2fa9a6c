"""Perturbation curves against the closed form of a linear model, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import faithfulness_test, perturbation_curve, region_order, voxel_order
from neuroxai.evaluation.heatmaps.known_truth import coarser

SHAPE = (5, 4, 6)


class Linear(nn.Module):
    """Two classes; the second sums weighted voxels."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.seen = weights, []

    def forward(self, x):
        self.seen.append(len(x))
        score = (x * self.weights).flatten(1).sum(1) + 0.7
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def linear(rng):
    weights = torch.from_numpy(rng.normal(size=SHAPE))
    scan = torch.from_numpy(rng.random((1, *SHAPE)))
    return Linear(weights), scan, (weights * scan[0]).numpy()


def test_deletion_of_a_linear_model_is_the_sum_of_what_is_left(linear):
    model, scan, parts = linear
    order = voxel_order(parts, parts.size)  # a voxel a step
    curve = perturbation_curve(model, scan, order, target=1)
    ranked = np.sort(parts.ravel())[::-1]
    scores = 0.7 + ranked.sum() - np.r_[0, np.cumsum(ranked)]
    np.testing.assert_allclose(curve.scores, scores, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.shares, np.linspace(0, 1, parts.size + 1), rtol=0, atol=1e-15)
    # a voxel of rank k is gone for all but k + 1/2 of the steps
    area = (ranked * (parts.size - np.arange(parts.size) - 0.5)).sum() / parts.size
    assert curve.area == pytest.approx(area, abs=1e-12)
    samek = (scores[0] - scores).mean()  # the mean over all states
    assert curve.area == pytest.approx(samek, rel=0.02)


def test_insertion_brings_back_what_deletion_took(linear, rng):
    model, scan, parts = linear
    fill = torch.from_numpy(rng.random((1, *SHAPE)))
    order = voxel_order(parts, 9)
    options = {"target": 1, "fill": fill}
    gone = perturbation_curve(model, scan, order, **options)
    back = perturbation_curve(model, scan, order, mode="insertion", **options)
    # a linear model: what goes and what stays add up
    np.testing.assert_allclose(gone.scores + back.scores, gone.scores[0] + gone.scores[-1], rtol=0, atol=1e-12)
    assert back.scores[0] == pytest.approx(gone.scores[-1], abs=1e-12)
    assert back.area == pytest.approx(gone.area, abs=1e-12)
    assert back.scores[0] == pytest.approx(float(model(fill[None])[0, 1]), abs=1e-12)


def test_no_order_of_voxels_or_regions_beats_the_true_contributions(rng):
    regions = np.zeros(SHAPE, dtype=int)
    regions[0, 0, :1], regions[1], regions[2, :, :3], regions[3, 1:], regions[4, 0, :2] = 1, 2, 3, 4, 5
    weights = torch.from_numpy(rng.normal(size=SHAPE))
    scan = torch.from_numpy(rng.random((1, *SHAPE)))
    parts = (weights * scan[0]).numpy()
    model = Linear(weights)
    best = perturbation_curve(model, scan, region_order(parts, regions), target=1).area
    for places in itertools.permutations(range(5)):  # every order there is, regions of very different size among them
        other = region_order(np.r_[0, places][regions].astype(float), regions)
        assert perturbation_curve(model, scan, other, target=1).area <= best + 1e-12
    order = voxel_order(parts, 12)
    result = faithfulness_test(model, scan, order, target=1, repeats=20)
    worst = faithfulness_test(model, scan, voxel_order(-parts, 12), target=1, repeats=20)
    assert (result.beaten, worst.beaten) == (1, 0)
    assert result.gain == pytest.approx(result.area - np.mean(result.random), abs=1e-12)


def test_a_random_order_of_a_linear_model_takes_half_on_average(linear):
    model, scan, parts = linear
    found = faithfulness_test(model, scan, voxel_order(parts, 10), target=1, repeats=300).random
    assert abs(np.mean(found) - parts.sum() / 2) < 4 * np.std(found) / np.sqrt(len(found))


def test_voxels_outside_the_order_stay_in_both_modes(linear):
    model, scan, parts = linear
    within = np.zeros(SHAPE, dtype=bool)
    within[1, 2:, 1:] = True
    order = voxel_order(parts, 4, within)
    for mode in ("deletion", "insertion"):
        curve = perturbation_curve(model, scan, order, target=1, mode=mode)
        ends = curve.scores[[0, -1]] if mode == "deletion" else curve.scores[[-1, 0]]
        wanted = 0.7 + parts.sum(), 0.7 + parts[~within].sum()
        np.testing.assert_allclose(ends, wanted, rtol=0, atol=1e-12)


def test_batches_give_the_same_curve_and_keep_their_size(linear):
    model, scan, parts = linear
    order = voxel_order(parts, 10)
    whole = perturbation_curve(model, scan, order, target=1, batch_size=100)
    model.seen.clear()
    pieces = perturbation_curve(model, scan, order, target=1, batch_size=4)
    assert model.seen == [4, 4, 3]
    np.testing.assert_allclose(pieces.scores, whole.scores, rtol=0, atol=1e-13)


def test_channels_fall_together_and_one_output_needs_no_target(rng):
    scan = torch.from_numpy(rng.random((2, *SHAPE)))
    order = voxel_order(rng.normal(size=SHAPE), 3)
    curve = perturbation_curve(lambda x: x.flatten(1).sum(1), scan, order)
    left = [float(scan[:, torch.from_numpy(order.turn > step)].sum()) for step in range(4)]
    np.testing.assert_allclose(curve.scores, left, rtol=0, atol=1e-12)


def test_a_map_that_knows_nothing_gains_nothing_and_ties_count_half(linear):
    _, scan, parts = linear
    still = faithfulness_test(lambda x: x.new_ones(len(x)), scan, voxel_order(parts, 5), repeats=4)
    assert (still.area, still.gain, still.beaten) == (0, 0, 0.5)


def test_neither_the_scan_nor_the_model_is_changed(linear):
    model, scan, parts = linear
    kept = scan.clone().requires_grad_(True)
    perturbation_curve(model, kept, voxel_order(parts, 3), target=1, fill="blur")
    assert torch.equal(kept, scan)
    assert kept.grad is None


def test_what_does_not_fit_is_refused(linear):
    model, scan, parts = linear
    order = voxel_order(parts, 3)
    with pytest.raises(InputError, match="has 2 classes; name one"):
        perturbation_curve(model, scan, order)
    with pytest.raises(InputError, match="target is 2, expected 0 to 1"):
        perturbation_curve(model, scan, order, target=2)
    with pytest.raises(InputError, match="unknown mode 'delete'"):
        perturbation_curve(model, scan, order, target=1, mode="delete")
    with pytest.raises(SpaceError, match="is not on the order's grid"):
        perturbation_curve(model, scan[None], order, target=1)
    with pytest.raises(InputError, match=r"returned \(4, 1, 5, 4, 6\) for 4 scans"):
        perturbation_curve(lambda x: x, scan, order)
    with pytest.raises(InputError, match="repeats is 0"):
        faithfulness_test(model, scan, order, target=1, repeats=0)
    with pytest.raises(InputError, match="batch_size is 0"):
        perturbation_curve(model, scan, order, target=1, batch_size=0)


def test_a_coarser_order_is_the_same_curve_at_fewer_points():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(14), 5)).reshape(7, 10)  # 0 is background
    order = region_order(rng.normal(size=labels.shape), labels)
    found = coarser(order, 4)
    assert (order.steps, found.steps) == (13, 4)
    # 13 regions of equal size in steps that end after 3, 6 (.5 to even), 10 and 13 regions
    np.testing.assert_allclose(found.shares, np.array([0, 3, 6, 10, 13]) / 13)
    for step, last in enumerate((3, 6, 10, 13), 1):
        assert ((found.turn > 0) & (found.turn <= step)).tolist() == ((order.turn > 0) & (order.turn <= last)).tolist()
    assert coarser(order, 13) is order
