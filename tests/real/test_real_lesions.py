"""Lesion relevance on real lesions: masks of 18 patients (Lesjak 2017) in simulated FLAIR scans."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from neuroxai import attribution, io, networks
from neuroxai.evaluation import mask_in_space
from neuroxai.simulate import Acquisition, Lesions, mni152_anatomy, simulate_scan
from neuroxai.space import mni152
from neuroxai.statistics import correlation, lesion_coverage, lesion_relevance

pytestmark = [pytest.mark.real, pytest.mark.full(2)]

SPACE = mni152(4.0)
# against the median of the brain: above all healthy tissue, below the lesions
LESION, THRESHOLD = 1.8, 1.55


def detector():
    """A network that is known to use lesions alone: how much of the scan is brighter than healthy tissue."""
    layers = nn.Sequential(nn.Conv3d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 1))
    for layer, bias in ((layers[0], -THRESHOLD), (layers[4], 0.0)):
        nn.init.ones_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    return layers.eval()


def untrained():
    """The published network with the weights of a fixed seed."""
    torch.manual_seed(0)
    return networks.create("ms_cnn", SPACE.shape, padding="same").eval()


NETWORKS = {"detector": detector, "untrained": untrained}


@pytest.fixture(scope="module")
def masks(real_data):
    """The real masks, 1 mm, stored left to right reversed (LAS)."""
    files = sorted((real_data / "lesions" / "open_ms_mni").glob("*_lesions_MNI1mm.nii.gz"))
    assert len(files) == 18
    return [io.read_volume(file) for file in files]


@pytest.fixture(scope="module")
def cohort(masks):
    """Healthy simulated FLAIR scans, each with one person's lesions on the network's grid: scans, lesions, brains."""
    acquisition = Acquisition(Lesions(mni152_anatomy()), SPACE)
    scans, lesions, brains = [], [], []
    for number, mask in enumerate(masks):
        scan = simulate_scan(acquisition, np.random.SeedSequence([7, number]), present=False)
        assert not scan.mask.any()
        brain, lesion = scan.image > 0, mask_in_space(mask, SPACE)
        image = scan.image / np.median(scan.image[brain])
        assert image.max() < THRESHOLD
        image[lesion & brain] = LESION
        scans.append(image)
        lesions.append(lesion & brain)
        brains.append(brain)
    return np.stack(scans), np.stack(lesions), np.stack(brains)


@pytest.fixture(scope="module")
def heatmaps(cohort):
    """Relevance of each scan by network, shape (scans, x, y, z)."""
    found = {}
    for name, make in NETWORKS.items():
        method = attribution.create("lrp_alpha_beta", make(), beta=0.0)
        maps = [
            method.attribute(torch.from_numpy(scan)[None, None].float(), target=0, start="logit")[0, 0]
            for scan in cohort[0]
        ]
        found[name] = np.stack([m.detach().numpy() for m in maps]).astype(np.float64)
    return found


def test_masks_come_to_the_grid_by_world_coordinates(masks):
    points = (np.arange(8) + 0.5) / 8 - 0.5  # none on a border of the masks' voxels of 1 mm
    for mask in masks:
        assert mask.space.orientation == "LAS"
        found = mask_in_space(mask, SPACE)
        inverse = np.linalg.inv(mask.space.affine)
        lesions = SPACE.voxels(mask.space.world(np.argwhere(mask.data != 0)))
        near = np.unique(np.concatenate([np.rint(lesions), np.floor(lesions), np.ceil(lesions)]).astype(int), axis=0)
        near = np.unique(np.concatenate([near + move for move in product((-1, 0, 1), repeat=3)]), axis=0)
        share = np.zeros(SPACE.shape)
        for point in product(points, repeat=3):
            index = np.round(SPACE.world(near + point) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
            within = ((index >= 0) & (index < mask.space.shape)).all(axis=1)
            share[tuple(near[within].T)] += (mask.data[tuple(index[within].T)] != 0) / 512
        volume = (mask.data != 0).sum() / SPACE.voxel_volume
        least = min(np.unique(share[share > 0]), key=lambda value: abs((share >= value).sum() - volume))
        np.testing.assert_array_equal(found, share >= least)
        assert abs(found.sum() - volume) < 5 * np.sqrt(volume)


def test_lesions_lie_in_the_brain(cohort, masks):
    _, lesions, brains = cohort
    inside = [kept.sum() / mask_in_space(mask, SPACE).sum() for kept, mask in zip(lesions, masks, strict=True)]
    assert min(inside) > 0.95
    for lesion, brain in zip(lesions, brains, strict=True):
        coverage = lesion_coverage(lesion, brain)
        both = sum(1 for one, two in zip(lesion.flat, brain.flat, strict=True) if one and two)
        assert coverage == pytest.approx(both / brain.sum())
        assert 0 < coverage < 0.06


@pytest.mark.parametrize("name", NETWORKS)
def test_lesion_relevance_is_that_of_the_slow_formula(name, cohort, heatmaps):
    for heatmap, lesion in zip(heatmaps[name], cohort[1], strict=True):
        top = bottom = 0.0
        for relevance, inside in zip(heatmap.flat, lesion.flat, strict=True):
            if relevance > 0:
                top += relevance * inside
                bottom += relevance
        assert bottom > 0
        assert lesion_relevance(heatmap, lesion) == pytest.approx(top / bottom, rel=1e-9)


def test_a_network_that_uses_lesions_alone_has_all_relevance_there(cohort, heatmaps):
    for heatmap, lesion in zip(heatmaps["detector"], cohort[1], strict=True):
        assert lesion_relevance(heatmap, lesion) == pytest.approx(1.0, abs=1e-6)


def test_the_mask_itself_has_all_its_complement_none_and_the_flipped_mask_another_figure(cohort, heatmaps):
    for number, (lesion, brain) in enumerate(zip(*cohort[1:], strict=True)):
        assert lesion_relevance(lesion.astype(float), lesion) == 1.0
        assert lesion_relevance((brain & ~lesion).astype(float), lesion) == 0.0
        flipped = lesion[::-1]
        assert lesion_relevance(lesion.astype(float), flipped) < 0.9
        for name in NETWORKS:
            heatmap = heatmaps[name][number]
            assert abs(lesion_relevance(heatmap, flipped) - lesion_relevance(heatmap, lesion)) > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_lesion_load_against_relevance(name, cohort, heatmaps, masks):
    load = np.array([(mask.data != 0).sum() * mask.space.voxel_volume / 1000 for mask in masks])
    inside = np.array([np.maximum(m, 0)[lesion].sum() for m, lesion in zip(heatmaps[name], cohort[1], strict=True)])
    share = np.array([lesion_relevance(m, lesion) for m, lesion in zip(heatmaps[name], cohort[1], strict=True)])
    columns = np.column_stack([inside, share]) if name == "untrained" else inside[:, None]
    found = correlation(load, columns, permutations=999, seed=3)
    rng = np.random.default_rng(11)
    for k, column in enumerate(columns.T):
        r = np.corrcoef(load, column)[0, 1]
        assert found.r[k] == pytest.approx(r, abs=1e-12)
        drawn = [abs(np.corrcoef(rng.permutation(load), column)[0, 1]) >= abs(r) - 1e-12 for _ in range(999)]
        p = (sum(drawn) + 1) / 1000
        # two independent draws of 999
        assert abs(found.p[k] - p) <= 5 * np.sqrt(2 * max(p, 1e-3) / 999)
    if name == "detector":
        assert found.r[0] > 0.99
        assert found.p[0] == 1 / 1000
        # whose lesions are whose matters
        other = correlation(np.roll(load, 5), columns, permutations=999, seed=3)
        assert other.p[0] > 0.05
