"""Parameter randomisation: what maps keep when a trained network forgets, layer by layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError
from neuroxai.evaluation.heatmaps.randomisation import MapComparison, randomisation_test

SHAPE = (14, 16, 15)


def scans(count, seed):
    """Noise with a bright cube on the left or the right."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(count, 1, *SHAPE, generator=generator), torch.arange(count) % 2
    x[y == 1, :, 2:6, 4:8, 3:7] += 0.8
    x[y == 0, :, 9:13, 10:14, 7:11] += 0.8
    return x, y


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 4 * 5 * 4, 16), nn.ReLU(), nn.Linear(16, 2),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(25):
        x, y = scans(16, step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    model.eval()
    x, y = scans(16, 99)
    assert bool((model(x).argmax(1) == y).all())
    return model


def steps_of(model, name, **options):
    x, y = scans(4, 7)
    return randomisation_test(model, lambda m: attribution.create(name, m), x, y, **options)


def test_layers_go_from_the_top_down(trained):
    assert [step.layer for step in steps_of(trained, "saliency")] == ["9", "7", "4", "1", "0"]


def test_the_ends_alone_are_as_in_the_whole_cascade(trained):
    whole = steps_of(trained, "gradient_x_input")
    assert steps_of(trained, "gradient_x_input", ends=True) == [whole[0], whole[-1]]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("lrp_epsilon", 0.85, 0.7), ("gradient_x_input", 0.85, 0.7), ("saliency", 0.85, 0.6), ("grad_cam", 0.85, 0.6)],
)
def test_maps_that_depend_on_what_was_learnt_change_from_the_top_layer_on(trained, name, first, last):
    found = [step.rank_correlation for step in steps_of(trained, name)]
    assert found[0] < first
    assert found[-1] < last


def test_z_plus_forgets_the_upper_layers(trained):
    """Sixt 2020: with positive contributions only, maps hardly depend on the layers above; alpha-beta's beta helps."""
    plus = [step.rank_correlation for step in steps_of(trained, "lrp_z_plus")]
    epsilon = [step.rank_correlation for step in steps_of(trained, "lrp_epsilon")]
    assert plus[0] > 0.95
    assert all(p > e + 0.2 for p, e in zip(plus[:4], epsilon[:4], strict=True))
    assert plus[-1] < plus[0]
    x, y = scans(4, 7)
    both = randomisation_test(trained, lambda m: attribution.create("lrp_alpha_beta", m, beta=1.0), x, y)
    assert both[0].rank_correlation < 0.85


def test_correlation_and_similarity_by_hand(trained):
    x, y = scans(2, 3)
    (step,) = steps = randomisation_test(
        trained,
        lambda m: attribution.create("saliency", m),
        x,
        y,
        layers=["7"],
        compare=MapComparison(similarity=True),
        seed=5,
    )
    assert len(steps) == 1
    import copy

    other = copy.deepcopy(trained)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other[7].reset_parameters()
    before, after = (attribution.create("saliency", m).attribute(x, y) for m in (trained, other))
    wanted = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(before, after, strict=True)]
    assert step.rank_correlations == pytest.approx(wanted)
    assert step.rank_correlation == pytest.approx(np.mean(wanted))
    a, b = (m[0, 0].double().numpy() / m[0, 0].max().item() for m in (before, after))
    window = np.lib.stride_tricks.sliding_window_view
    a, b = (window(m, (7, 7, 7)).reshape(-1, 343) for m in (a, b))
    joint = (a * b).mean(1) - a.mean(1) * b.mean(1)
    index = (2 * a.mean(1) * b.mean(1) + 1e-4) * (2 * joint + 9e-4)
    index /= (a.mean(1) ** 2 + b.mean(1) ** 2 + 1e-4) * (a.var(1) + b.var(1) + 9e-4)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[3:-3, 3:-3, 3:-3] = True  # where no window reaches beyond the border
    (inner,) = randomisation_test(
        trained,
        lambda m: attribution.create("saliency", m),
        x,
        y,
        layers=["7"],
        seed=5,
        compare=MapComparison(mask, similarity=True),
    )
    assert inner.similarities[0] == pytest.approx(index.mean(), rel=1e-6)


def test_a_mask_leaves_the_background_out(trained):
    x, y = scans(2, 3)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[2:12, 2:14] = True
    x = x * mask
    explain = lambda m: attribution.create("gradient_x_input", m)  # noqa: E731
    whole = randomisation_test(trained, explain, x, y)[-1].rank_correlation
    inside = randomisation_test(trained, explain, x, y, compare=MapComparison(mask))[-1].rank_correlation
    assert inside < whole - 0.1


def test_each_layer_alone(trained):
    cascade, alone = steps_of(trained, "saliency"), steps_of(trained, "saliency", cascade=False)
    assert alone[0] == cascade[0]
    assert alone[-1] != cascade[-1]
    (single,) = steps_of(trained, "saliency", layers=["0"], seed=4)  # seeds count up along the layers
    assert single == alone[-1]


def test_model_and_random_stream_are_untouched_and_the_seed_decides(trained):
    state = {k: v.clone() for k, v in trained.state_dict().items()}
    random = torch.get_rng_state()
    first = steps_of(trained, "saliency", seed=1)
    assert steps_of(trained, "saliency", seed=1) == first
    assert steps_of(trained, "saliency", seed=2) != first
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, state[k]) for k, v in trained.state_dict().items())
    assert not any(m._forward_hooks for m in trained.modules())


def test_a_constant_map_has_no_correlation():
    class Nothing:
        def attribute(self, inputs, target=None):
            return torch.zeros_like(inputs)

    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    (step,) = randomisation_test(model, lambda m: Nothing(), torch.rand(2, 1, 4), 1)
    assert math.isnan(step.rank_correlation)
    assert all(map(math.isnan, step.rank_correlations))


class Tokens(nn.Module):
    """A small transformer: an embedding of its own, and attention whose projection another module's forward uses."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.rand(1, 6, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        tokens = x.reshape(len(x), 6, 8) + self.embedding
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


def test_nothing_of_a_transformer_keeps_what_it_learnt():
    torch.manual_seed(0)
    model, seen = Tokens().eval(), []
    x = torch.rand(2, 1, 6, 8)

    class Saliency:
        def __init__(self, network):
            self.network = network
            seen.append({name: value.detach().clone() for name, value in network.named_parameters()})

        def attribute(self, inputs, target=None):
            return attribution.create("saliency", self.network).attribute(inputs, target)

    steps = randomisation_test(model, Saliency, x, 1)
    assert [step.layer for step in steps] == ["head", "attention", "attention.out_proj", ""]
    first, last = seen[0], seen[-1]
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed >= {name for name in first if first[name].any()}
    # how these two began is not known: their own values, shuffled
    for name in ("embedding", "attention.in_proj_weight"):
        assert torch.equal(first[name].flatten().sort().values, last[name].flatten().sort().values)
    assert all(torch.equal(first[name], value) for name, value in model.named_parameters())


def test_what_cannot_be_randomised_is_named(trained):
    with pytest.raises(InputError, match=r"layer '2' has no parameters .* choose from 0, 1, 4, 7, 9"):
        steps_of(trained, "saliency", layers=["2"])
    with pytest.raises(InputError, match="has no layer with parameters"):
        steps_of(nn.Flatten(), "saliency")
    with pytest.raises(InputError, match=r"mask has shape \(3,\)"):
        steps_of(trained, "saliency", compare=MapComparison(torch.ones(3, dtype=torch.bool)))
