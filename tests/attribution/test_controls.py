from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from neuroxai import attribution
from neuroxai.attribution.baselines import FROM_CONTROLS
from neuroxai.attribution.controls import NEAREST, REACH, ControlReference
from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import swap_effects

GRID, MM = (20, 14, 12), (4.0, 4.0, 4.0)
LEFT = (slice(3, 6), slice(4, 9), slice(3, 8))
RIGHT = (slice(14, 17), slice(4, 9), slice(3, 8))


def regions():
    labels = np.zeros(GRID, np.int32)
    labels[LEFT], labels[RIGHT] = 1, 2
    return labels


def controls(count=12, rank=2):
    """Scans of few ways to differ, and none like its mirror image."""
    generator = torch.Generator().manual_seed(0)
    ways = nn.functional.interpolate(torch.randn(rank, 1, 5, 4, 4, generator=generator), GRID, mode="trilinear")
    mean = torch.rand(1, *GRID, generator=generator) + 2
    return mean + torch.einsum("nk,kcxyz->ncxyz", torch.randn(count, rank, generator=generator), ways), ways, mean


def with_noise(reference, noise):
    return ControlReference(reference.mean, reference.components, noise, reference.controls, reference.spacing)


def test_what_is_wrong_with_a_region_is_not_reproduced_and_stays_on_its_side():
    scans, ways, mean = controls()
    reference = with_noise(ControlReference.of(scans, MM), 1e-6)
    healthy = (mean + 0.7 * ways[0] - 1.1 * ways[1])[None]
    patient = healthy.clone()
    patient[(..., *LEFT)] -= 1.5
    fitted = reference.fitted(patient, regions())
    torch.testing.assert_close(fitted[(..., *LEFT)], healthy[(..., *LEFT)], rtol=0, atol=2e-3)
    # the other side's fit sees the lesion from afar alone
    away = (patient - fitted)[0, 0]
    assert float(away[LEFT].mean()) == pytest.approx(-1.5, abs=2e-3)
    assert float(away[RIGHT].abs().max()) < 0.1
    whole = reference.fitted(patient)
    assert float((whole - healthy)[(..., *LEFT)].abs().mean()) > 0.01  # a fit to the whole brain takes part of it


def test_a_healthy_twin_lacks_the_change_that_is_expected():
    scans, ways, mean = controls(count=12)
    patients = scans[:8].clone()
    patients[(..., *LEFT)] -= 1.0
    reference = ControlReference.of(scans, MM, patients=patients)
    variety = float(np.var(scans[:8].numpy(), 0, ddof=1).sum() / np.var(scans.numpy(), 0, ddof=1).sum()) - 1
    assert reference.variety == pytest.approx(variety, abs=1e-5)  # the patients' change is all alike: of eight people
    reference = replace(reference, noise=1e-6, variety=0.0)
    healthy = (mean + 0.7 * ways[0] - 1.1 * ways[1])[None]
    patient = healthy.clone()
    patient[(..., *LEFT)] -= 1.5
    twin = reference.healthy_twin(torch.cat([patient, healthy]), regions())
    # v = 0 + 1/12 + 1/8 = 5/24, K = 5/29: of its own 1.5 that much, of the patients' 1.0 the rest
    change = {"patient": (5 * 1.5 + 24 * 1.0) / 29, "healthy": 24 * 1.0 / 29}
    for number, expected in enumerate(change.values()):
        found = twin[number, 0][LEFT] - torch.cat([patient, healthy])[number, 0][LEFT]
        assert float(found.mean()) == pytest.approx(expected, abs=0.01)
    assert float((twin[0, 0] - patient[0, 0])[RIGHT].abs().max()) < 0.1
    assert torch.equal(
        reference.baselines("healthy_twin", regions())(patient)[0], reference.healthy_twin(patient, regions())
    )
    with pytest.raises(InputError, match=r"knows no patients.*fitted_control"):
        ControlReference.of(scans, MM).baselines("healthy_twin")


def test_patients_and_mirror_images_tell_how_people_vary_and_more_varied_patients_weigh_more():
    scans, _, _ = controls(count=12, rank=5)
    change = torch.zeros(1, *GRID)
    change[(..., *LEFT)] = -1.0
    dose = torch.arange(12.0).view(-1, 1, 1, 1, 1)
    reference = ControlReference.of(scans[:4], MM, patients=scans[4:] + change, mirror=0)
    away = torch.cat([scans[:4] - scans[:4].mean(0), scans[4:] - scans[4:].mean(0)])
    away = torch.cat([away, away.flip(2)]).flatten(1).double().numpy()
    parts = reference.components.flatten(1).double().numpy()
    np.testing.assert_allclose(parts.T @ parts, away.T @ away / (2 * 12 - 2), atol=1e-4)
    # twins whose change differs: by hand, the part of the variance that the dose adds
    varied = ControlReference.of(scans, MM, patients=scans + dose * change)
    cross = 2 * float((dose - dose.mean()).mul(scans - scans.mean(0)).sum(0).mul(change).sum()) / 11
    own = float((scans - scans.mean(0)).square().sum()) / 11
    voxels = int((change != 0).sum())
    assert varied.variety == pytest.approx((13 * voxels + cross) / own, rel=1e-4)  # the variance of 0 to 11 is 13
    assert ControlReference.of(scans, MM, patients=scans + change).variety == pytest.approx(0, abs=1e-4)


def test_a_region_is_fitted_by_the_ridge_that_is_written_down():
    scans, _, _ = controls(rank=5)
    reference = ControlReference.of(scans, MM)
    x = torch.rand(1, 1, *GRID, generator=torch.Generator().manual_seed(5)).double()
    labels = regions()
    away = (scans - scans.mean(0)).flatten(1).double().numpy()
    covariance = away.T @ away / (len(scans) - 1)  # of all voxels, without components
    far = distance_transform_edt(labels != 1, sampling=MM).ravel()
    around = (far > MM[0]) & (far < 3 * REACH)
    inside = labels.ravel() == 1
    weight = np.exp(-0.5 * (far[around] / REACH) ** 2)
    known = covariance[np.ix_(around, around)] + np.diag(reference.noise / weight)
    difference = (x[0, 0].numpy() - scans.mean(0)[0].double().numpy()).ravel()[around]
    expected = scans.mean(0)[0].double().numpy().ravel()[inside]
    expected = expected + covariance[np.ix_(inside, around)] @ np.linalg.solve(known, difference)
    found = reference.fitted(x, labels)[0, 0].numpy().ravel()[inside]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_scans_of_a_batch_do_not_touch_each_other():
    scans, _, _ = controls()
    reference = ControlReference.of(scans, MM, keep_scans=True)
    both = scans[:2] + torch.randn(2, 1, *GRID, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(reference.fitted(both, regions())[1:], reference.fitted(both[1:], regions()))
    torch.testing.assert_close(reference.nearest(both)[:, 1:], reference.nearest(both[1:]))


def test_nearest_controls_come_in_order():
    scans, _, _ = controls()
    reference = ControlReference.of(scans, MM, keep_scans=True)
    found = reference.nearest(scans[4:5])
    distances = [float((one - scans[4]).square().sum()) for one in found[:, 0]]
    assert (len(found), distances[0]) == (NEAREST, 0)
    assert distances == sorted(distances)
    with pytest.raises(InputError, match=r"keeps no scans.*--scans"):
        ControlReference.of(scans, MM).baselines("nearest_controls")


def test_gradients_and_swaps_take_them_and_add_up():
    scans, _, _ = controls()
    reference = ControlReference.of(scans, MM, keep_scans=True, patients=scans + 0.1)
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(GRID)), 2)).eval()
    x = scans[:1] + torch.randn(1, 1, *GRID, generator=torch.Generator().manual_seed(3))
    weight = linear[1].weight[1].view(GRID).detach()
    for name in FROM_CONTROLS:
        chosen = reference.baselines(name, regions())
        other = reference.mean if name == "mean_control" else chosen(x).mean(0)[0]
        expected = (weight * (x[0, 0] - other[0])).detach()
        for method in ("integrated_gradients", "deep_lift"):
            found = attribution.create(method, linear, baselines=chosen).attribute(x, target=1)
            torch.testing.assert_close(found[0, 0], expected, rtol=1e-3, atol=1e-4)
        for method in ("region_swap", "region_shapley"):
            made = attribution.create(method, linear, labels=torch.from_numpy(regions()), baselines=chosen)
            heatmap = made.attribute(x, target=1)[0, 0]
            for place in (LEFT, RIGHT):  # a region's sum is its drop, on its own side
                assert float(heatmap[place].sum()) == pytest.approx(float(expected[place].sum()), abs=1e-3)
            assert float(heatmap.sum()) == pytest.approx(float(expected[regions() > 0].sum()), abs=1e-3)


def test_a_swap_by_the_own_twin_is_the_effect_that_evaluation_measures():
    scans, _, _ = controls()
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.LazyLinear(2))
    network(scans[:1])
    network.eval()
    effects = swap_effects(lambda x: network(x)[:, 1], scans[0], scans[1], regions())
    method = attribution.create("region_swap", network, labels=torch.from_numpy(regions()), baselines=scans[1])
    np.testing.assert_allclose(method.scores(scans[:1], 1)[0][0].numpy(), effects, atol=1e-5)


def test_refusals_name_the_way_out():
    scans, _, _ = controls()
    reference = ControlReference.of(scans, MM)
    with pytest.raises(InputError, match=r"\(2, 1, 20, 14, 12\).*3 controls or more"):
        ControlReference.of(scans[:2], MM)
    with pytest.raises(InputError, match="alike"):
        ControlReference.of(scans[:1].expand(4, -1, -1, -1, -1), MM)
    with pytest.raises(SpaceError, match=r"\(1, 9, 14, 12\).*\(1, 20, 14, 12\)"):
        reference.fitted(torch.zeros(1, 1, 9, 14, 12))
    with pytest.raises(InputError, match="of 0 scans some are expected"):
        ControlReference.of(scans, MM, patients=scans[:0])
    with pytest.raises(InputError, match="finite values; leave out damaged scans"):
        ControlReference.of(scans.clone().index_fill_(0, torch.tensor([2]), float("nan")), MM)
    with pytest.raises(SpaceError, match=r"\(1, 9, 14, 12\).*\(1, 20, 14, 12\)"):
        ControlReference.of(scans, MM, patients=scans).healthy_twin(torch.zeros(1, 1, 9, 14, 12))
    with pytest.raises(InputError, match=r"'zero_control'.*fitted_control"):
        reference.baselines("zero_control")
    with pytest.raises(InputError, match=r"'mean_control', which needs a reference.*ControlReference\.baselines"):
        attribution.create("integrated_gradients", nn.Flatten(), baselines="mean_control")
    with pytest.raises(InputError, match=r"value is 'mean' and baselines"):
        attribution.create("occlusion", nn.Flatten(), value="mean", baselines=0.1)
