"""Feature visualisation: the optimum where it is known, the options, and what is left untouched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai.attribution.feature_visualisation import AscentOptions
from neuroxai.attribution.feature_visualisation import visualise as climb
from neuroxai.errors import InputError
from neuroxai.layers import PatchIndividualFilter


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 3 * 4 * 5, 2)
    ).eval()  # fmt: skip


SHAPE = (1, 5, 6, 7)


def visualise(model, layer, neuron, in_shape, start=None, seed=0, **options):
    return climb(model, layer, neuron, in_shape, AscentOptions(**options), start=start, seed=seed)


def test_one_neuron_shows_its_filter():
    model = network().double()
    found = visualise(model, "0", (1, 1, 2, 3), SHAPE, steps=600)
    assert found.shape == (1, *SHAPE)
    assert found.dtype == torch.float64
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[:, 1:4, 2:5, 3:6] = True
    shown, filter = found[0][inside], model[0].weight[1].detach().flatten()
    assert float(torch.nn.functional.cosine_similarity(shown, filter, dim=0)) > 0.99
    assert float(found[0][~inside].abs().max()) < 0.01 * float(shown.abs().max())


def test_weight_decay_decides_the_optimum():
    # value = w . x - decay / 2 x . x is largest at x = w / decay
    model = network().double()
    found = visualise(model, "0", (0, 0, 0, 0), SHAPE, steps=3000, learning_rate=0.003, weight_decay=0.5)
    torch.testing.assert_close(found[0, 0, :3, :3, :3], model[0].weight[0, 0].detach() / 0.5, rtol=0.02, atol=0.01)


def test_a_whole_filter_is_climbed_at_all_positions():
    model = network()
    before = visualise(model, "0", 2, SHAPE, steps=1, learning_rate=0.0)
    after = visualise(model, "0", 2, SHAPE, steps=50)
    with torch.no_grad():
        rise = model[0](after)[0, 2] - model[0](before)[0, 2]
    assert bool((rise > 0.1).all())
    others = visualise(model, "0", 1, SHAPE, steps=50)
    assert not torch.allclose(after, others)


def test_a_patch_and_a_filter():
    torch.manual_seed(0)
    pif = PatchIndividualFilter(2, 1, 2, in_shape=(9, 10), patch_shape=(3, 5), kernel_size=2)
    found = visualise(nn.Sequential(pif, nn.Flatten()).eval(), "0", {"patch": 3, "filter": 1}, (1, 9, 10), steps=300)
    patch = found[0, 0, 3:6, 5:10]  # patches along the axes: 3 x 2, C order
    inside = torch.zeros(9, 10, dtype=torch.bool)
    inside[3:6, 5:10] = True
    assert float(patch.abs().min()) > 10 * float(found[0, 0][~inside].abs().max())


def test_regularisers():
    model = network()
    plain = visualise(model, "0", 0, SHAPE, steps=40)
    rough = plain.diff(dim=2).abs().mean()
    for options in ({"total_variation": 0.2}, {"blur": 1.0}):
        smooth = visualise(model, "0", 0, SHAPE, steps=40, **options)
        assert smooth.diff(dim=2).abs().mean() < 0.9 * rough, options
    assert not torch.allclose(visualise(model, "0", 0, SHAPE, steps=40, jitter=1), plain)
    bounded = visualise(model, "0", 0, SHAPE, steps=40, bounds=(0.0, 0.3))
    assert (float(bounded.min()), float(bounded.max())) == (0.0, pytest.approx(0.3))
    started = visualise(model, "0", 0, SHAPE, steps=1, learning_rate=0.0, start=torch.full(SHAPE, 0.7))
    assert torch.equal(started, torch.full((1, *SHAPE), 0.7))


def test_blur_by_hand():
    model = nn.Sequential(nn.Conv1d(1, 1, 1)).eval()
    start = torch.zeros(1, 9)
    start[0, 4] = 1
    found = visualise(model, "0", 0, (1, 9), steps=1, learning_rate=0.0, blur=0.5, blur_every=1, start=start)
    weights = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / 0.5) ** 2)
    torch.testing.assert_close(found[0, 0, 2:7], weights / weights.sum())


def test_seeded_and_nothing_else_is_touched():
    model = network()
    model.train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.warns(UserWarning, match="training mode"), torch.no_grad():
        first = visualise(model, "0", 0, SHAPE, steps=3, jitter=1)
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    model.eval()
    with torch.inference_mode():
        assert torch.equal(visualise(model, "0", 0, SHAPE, steps=3, jitter=1), first)
    assert not torch.equal(visualise(model, "0", 0, SHAPE, steps=3, jitter=1, seed=1), first)


def test_a_silent_neuron_is_told():
    model = nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU()).eval()
    nn.init.constant_(model[0].bias, -9)
    with pytest.warns(UserWarning, match="no gradient where the ascent starts"):
        visualise(model, "1", 0, (1, 9), steps=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "conv9"}, "unknown layer 'conv9'; choose one of: 0, 1, 2"),
        ({"neuron": 3}, r"neuron 3 does not exist; layer '0' has outputs of shape \(3, 3, 4, 5\)"),
        ({"neuron": (0, 1)}, "has 2 indices, expected 1 or 4"),
        ({"neuron": {"patch": 0, "filter": 0}}, "PatchIndividualFilter"),
        ({"in_shape": (2, 5, 6, 7)}, r"cannot take an input of shape \(1, 2, 5, 6, 7\)"),
        ({"in_shape": (1, 5, 0)}, r"in_shape is \(1, 5, 0\)"),
        ({"steps": 0}, "steps is 0"),
        ({"blur": -1}, "blur is -1"),
        ({"jitter": 0.5}, "jitter is 0.5"),
        ({"bounds": (1, 0)}, r"bounds are \(1, 0\)"),
        ({"start": torch.zeros(5, 6, 7)}, r"start has shape \(5, 6, 7\)"),
        ({"start": torch.full(SHAPE, float("nan"))}, "start holds NaN"),
    ],
)
def test_bad_options(change, message):
    arguments = {"layer": "0", "neuron": 0, "in_shape": SHAPE, "steps": 1, **change}
    with pytest.raises(InputError, match=message):
        visualise(network(), **arguments)


def test_half_is_refused():
    with pytest.raises(InputError, match=r"the model is torch\.float16; float32 or float64 is expected"):
        visualise(network().half(), "0", 0, SHAPE, steps=1)
