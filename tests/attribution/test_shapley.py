from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.attribution.occlusion.incremental import Incremental
from neuroxai.attribution.shapley import coalitions
from neuroxai.attribution.shapley.regions import RegionShapley
from neuroxai.errors import InputError

GRID = (6, 5, 4)
LABELS = (torch.arange(6 * 5 * 4) % 5).reshape(GRID)  # four regions and a background


def scan(batch=1):
    return torch.randn(batch, 1, *GRID, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Game(nn.Module):
    """A score that is no sum over regions: a product of sums, and a maximum."""

    def forward(self, x):
        sums = torch.stack([(x[:, 0] * (r == LABELS)).flatten(1).sum(1) for r in range(1, 5)], 1)
        one = sums[:, 0] * sums[:, 1] + torch.maximum(sums[:, 2], sums[:, 3]) * 0.7 + sums[:, 0] ** 2
        return torch.stack([one, -one * sums[:, 3]], 1)


def by_all_orders(model, x, fill, target):
    """Shapley's formula as it stands: the mean contribution over all orders."""
    players = range(1, 5)

    def worth(kept):
        stays = (LABELS == 0) | torch.isin(LABELS, torch.tensor(list(kept)))
        return float(model(torch.where(stays, x, torch.as_tensor(fill, dtype=x.dtype)))[0, target])

    values, orders = dict.fromkeys(players, 0.0), list(permutations(players))
    for order in orders:
        for n, player in enumerate(order):
            values[player] += (worth(order[: n + 1]) - worth(order[:n])) / len(orders)
    return torch.tensor([[values[r] for r in players]], dtype=torch.float64)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("fill", [0.0, 0.4])
def test_a_small_game_is_exact(target, fill):
    x, model = scan(), Game().eval()
    values, errors, labels = RegionShapley(model, labels=LABELS, baselines=fill).shares(x, target)
    torch.testing.assert_close(values, by_all_orders(model, x, fill, target), rtol=0, atol=1e-9)
    assert labels == (1, 2, 3, 4)
    assert not errors.any()


def test_a_network_in_inference_mode_is_a_network():
    class Inference(Game):
        @torch.inference_mode()
        def forward(self, x):
            return super().forward(x)

    wanted = RegionShapley(Game(), labels=LABELS).attribute(scan(), 0)
    torch.testing.assert_close(RegionShapley(Inference(), labels=LABELS).attribute(scan(), 0), wanted)


def test_drawn_orders_come_near_and_add_up():
    from neuroxai.attribution.shapley.regions import _sampled

    x, model = scan(), Game().eval()
    exact = by_all_orders(model, x, 0.0, 0)

    def worth(kept):
        where = torch.cat([torch.ones(len(kept), 1, dtype=torch.bool), kept], 1)[:, LABELS][:, None]
        return model(torch.where(where, x, torch.zeros(()).double()))[:, 0]

    def orders(drawn):
        ranks = [torch.argsort(order) for order in (drawn, drawn.flip(0))]
        return tuple(worth(rank < torch.arange(5)[:, None]) for rank in ranks)

    pairs = _sampled(4, orders, 400, seed=3)
    error = pairs.std(0) / 20
    assert bool(((pairs.mean(0) - exact[0]).abs() <= 4 * error + 1e-9).all())
    full, nothing = worth(torch.ones(1, 4, dtype=torch.bool)), worth(torch.zeros(1, 4, dtype=torch.bool))
    torch.testing.assert_close(pairs.sum(1), (full - nothing).expand(400), rtol=0, atol=1e-9)


def test_of_a_linear_model_each_region_gets_its_own_part_by_any_orders():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(120, 2)).double().eval()
    labels = (torch.arange(120) % 31).reshape(GRID)  # thirty regions: orders are drawn
    start = torch.randn(1, *GRID, dtype=torch.float64)
    x = scan(2)
    method = attribution.create("region_shapley", model, labels=labels, baselines=start, n_samples=2)
    values, errors, found = method.shares(x, [0, 1])
    parts = (model[1].weight[[0, 1]].view(2, *GRID) * (x - start)[:, 0]).detach()
    expected = torch.stack([(parts * (labels == r)).flatten(1).sum(1) for r in found], 1)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)
    assert float(errors.max()) < 1e-9
    heatmap = method.attribute(x, [0, 1])
    sums = torch.stack([(heatmap[:, 0] * (labels == r)).flatten(1).sum(1) for r in found], 1)
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-9)
    assert not heatmap[:, 0][:, labels == 0].any()


def test_several_references_give_the_mean():
    x, model, two = scan(), Game().eval(), [torch.full((1, *GRID), v, dtype=torch.float64) for v in (0.1, -0.5)]
    both = attribution.create("region_shapley", model, labels=LABELS, baselines=two).shares(x, 0)[0]
    each = [attribution.create("region_shapley", model, labels=LABELS, baselines=one).shares(x, 0)[0] for one in two]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="n_samples is 1"):
        RegionShapley(Game().eval(), labels=LABELS, n_samples=1)
    with pytest.raises(InputError, match="labels are not given"):
        RegionShapley(Game().eval())


WIDE = (16, 7, 5)
NINE = (torch.arange(16 * 7 * 5) * 10 // 560).reshape(WIDE)  # nine slabs and a background


def wide(batch=1):
    return torch.randn(batch, 1, *WIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def residual():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(3, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, x):
            y = torch.relu(self.a(x))
            return self.fc((y + torch.tanh(self.b(y))).flatten(2).mean(2))

    return Residual()


def plain(*more):
    return nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), *more, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(1680, 2))


NETWORKS = {
    "flattened": plain,
    "pooled": lambda: nn.Sequential(
        nn.Conv3d(1, 3, (3, 2, 1), stride=(1, 2, 1)),
        nn.ELU(),
        nn.MaxPool3d(2),
        nn.Flatten(),
        nn.Linear(3 * 7 * 1 * 2, 2),
    ),
    "residual, mean over the grid": residual,
    "instance normalisation: whole runs": lambda: nn.Sequential(nn.InstanceNorm3d(1), plain()),
    "instance normalisation behind": lambda: plain(nn.InstanceNorm3d(3)),
}


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("which", NETWORKS)
def test_what_regions_reach_gives_what_whole_runs_give(which, score, monkeypatch):
    torch.manual_seed(0)
    model, x, local = NETWORKS[which]().double().eval(), wide(2), []
    changed = Incremental.changed
    monkeypatch.setattr(Incremental, "changed", lambda *args, **more: local.append(1) or changed(*args, **more))
    fills = [torch.randn(1, *WIDE, dtype=torch.float64) for _ in range(2)]
    method = RegionShapley(model, labels=NINE, baselines=fills, n_samples=2, score=score)
    values, errors, _ = method.shares(x, [0, 1])
    torch.testing.assert_close(method.shares(x[1:], 1)[0], values[1:], rtol=0, atol=1e-9)  # alone as in a batch
    assert len(local) == (0 if "whole" in which else 3 * 2 * 2 * 2 * 9)  # scans, references, pairs, orders, regions
    monkeypatch.setattr(coalitions.Game, "_reach", None)
    wanted, spread, _ = method.shares(x, [0, 1])
    torch.testing.assert_close(values, wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(errors, spread, rtol=0, atol=1e-9)
    assert bool((errors > 0).any())


@pytest.mark.parametrize("estimator", ["orders", "kernel"])
def test_values_add_up_and_come_near_the_exact_ones(estimator):
    torch.manual_seed(1)
    model = nn.Sequential(plain(), nn.Tanh(), nn.Linear(2, 1)).double().eval()
    x, start = wide(), torch.full((1, *WIDE), 0.3, dtype=torch.float64)
    exact, none, _ = RegionShapley(model, labels=NINE, baselines=start, n_samples=100).shares(x)  # all 512 coalitions
    assert not none.any()
    found, errors, _ = RegionShapley(model, labels=NINE, baselines=start, n_samples=25, estimator=estimator).shares(x)
    away = (found - exact).abs()
    assert bool((away <= 4 * errors).all())
    assert 0.3 < float((away / errors).square().mean().sqrt()) < 2  # the errors are of that size
    drop = (model(x) - model(torch.where(NINE > 0, start, x)))[0, 0]
    for one in (exact, found):
        torch.testing.assert_close(one.sum(), drop.detach(), rtol=0, atol=1e-9)


def test_the_kernel_is_exact_for_a_linear_model():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(560, 2)).double().eval(), wide()
    method = attribution.create("region_shapley", model, labels=NINE, n_samples=2, estimator="kernel")
    values, errors, labels = method.shares(x, 1)
    parts = (model[1].weight[1].view(1, *WIDE) * x[0]).detach()
    torch.testing.assert_close(values[0], torch.stack([parts[:, r == NINE].sum() for r in labels]), rtol=0, atol=1e-9)
    assert float(errors.max()) < 1e-9
    with pytest.raises(InputError, match="unknown estimator 'luck'; choose one of: kernel, orders"):
        RegionShapley(model, labels=NINE, estimator="luck")
