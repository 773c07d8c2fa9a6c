"""Region occlusion: what it computes and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neuroxai.atlas import Atlas
from neuroxai.attribution.occlusion.occlusion import RegionOcclusion as region_occlusion
from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Space
from oracles.occlusion import region_drops

GRID = (9, 8, 7)


def network():
    torch.manual_seed(4)
    body = [nn.Conv3d(1, 3, 3, padding=1), nn.ELU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(3 * 4 * 4 * 3, 2)]
    return nn.Sequential(*body).eval().double()


def scans(batch=2):
    return torch.randn(batch, 1, *GRID, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def label_image():
    """An asymmetric image: a slab, a corner, a single voxel, background between; large and unordered labels."""
    labels = torch.zeros(GRID, dtype=torch.int16)
    labels[:2] = 300
    labels[5:, 5:, 4:] = 4
    labels[4, 0, 6] = 17
    return labels


def test_scores_and_map():
    model, x, labels = network(), scans(), label_image()
    method = region_occlusion(model, labels=labels)
    scores, values = method.scores(x, [0, 1])
    assert values == (4, 17, 300)
    with torch.no_grad():
        for n in (0, 1):
            wanted = region_drops(lambda v, n=n: model(v)[:, n], x[n : n + 1], labels, values)
            torch.testing.assert_close(scores[n], wanted, rtol=0, atol=1e-12)
    painted = method.attribute(x, [0, 1])
    assert painted.shape == x.shape
    for n in (0, 1):
        for score, value in zip(scores[n], values, strict=True):
            assert painted[n, 0][labels == value].unique().tolist() == [float(score)]
    assert not painted[:, 0, labels == 0].any()
    density = region_occlusion(model, labels=labels, density=True).attribute(x, [0, 1])
    sums = torch.stack([density[:, 0, labels == value].sum(1) for value in values], dim=1)
    torch.testing.assert_close(sums, scores)
    positive, _ = region_occlusion(model, labels=labels, positive=True).scores(x, [0, 1])
    assert bool((scores < 0).any())
    torch.testing.assert_close(positive, scores.clamp(min=0))


def test_an_atlas_keeps_the_places_of_regions_without_voxels():
    labels, x = label_image(), scans(1)
    atlas = Atlas(labels.numpy(), {4: "a", 9: "nowhere", 17: "b", 300: "c"}, Space(GRID, np.eye(4)))
    scores, values = region_occlusion(network(), labels=atlas).scores(x, 1)
    plain, _ = region_occlusion(network(), labels=labels.numpy()).scores(x, 1)
    assert values == (4, 9, 17, 300)
    assert scores[0, 1] == 0
    torch.testing.assert_close(scores[:, [0, 2, 3]], plain, rtol=0, atol=0)
    assert bool(region_occlusion(network(), labels=atlas, density=True).attribute(x, 1).isfinite().all())


def test_two_dimensions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4 * 3, 2)).eval()
    labels = np.zeros((6, 5), dtype=np.uint8)
    labels[0, 3:] = 200
    x = torch.randn(1, 1, 6, 5)
    scores, values = region_occlusion(model, labels=labels).scores(x, 1)
    assert values == (200,)
    with torch.no_grad():
        wanted = region_drops(lambda v: model(v)[:, 1], x, torch.from_numpy(labels), (200,))
    torch.testing.assert_close(scores[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels are not given; an integer array on the network's grid"),
        ("atlas.nii.gz", "labels are a str"),
        (np.zeros(GRID), "labels are of type float64; .*round them first"),
        (np.zeros(GRID, dtype=int), "labels hold no region"),
        (np.full(GRID, -1), "the least is -1"),
        (np.zeros((0, 2, 2), dtype=int), "there is none"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(InputError, match=message):
        region_occlusion(network(), labels=labels)


def test_other_refusals():
    with pytest.raises(
        SpaceError,
        match=r"shape \(2, 1, 9, 8, 7\) have the grid \(9, 8, 7\), the labels of region_occlusion \(9, 8, 6\)",
    ):
        region_occlusion(network(), labels=label_image()[..., :6]).attribute(scans(), 1)
    with pytest.raises(InputError, match="density is 2"):
        region_occlusion(network(), labels=label_image(), density=2)
    with pytest.raises(InputError, match="model is a NoneType"):
        region_occlusion(None)
