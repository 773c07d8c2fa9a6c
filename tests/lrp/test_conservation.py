"""The books of an explanation balance, and name the keeper of what is lost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuroxai.errors import InputError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Gamma, composites

PRESETS = {
    "epsilon": composites.epsilon(0.1),
    "ignore": composites.everywhere(Epsilon(bias="ignore")),
    "distribute": composites.everywhere(Epsilon(bias="distribute")),
    "alpha_beta": composites.alpha_beta(1.0),
    "z_plus": composites.z_plus(),
    "gamma": composites.everywhere(Gamma()),
    "boehle2019": composites.boehle2019(0.5),
}


class Network(nn.Module):
    """Folded and free normalisation, pooling, a sum, a concatenation, a layer whose output nobody explains."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2))
        self.left, self.right = nn.Conv3d(3, 3, 3, padding=1), nn.BatchNorm3d(3)
        self.act, self.fc = nn.ELU(), nn.Linear(6 * 2 * 2 * 3, 2)

    def forward(self, x):
        a = self.stem(x)
        b = self.act(self.left(a) + self.right(a))
        return self.fc(torch.cat((a, b), 1).flatten(1))


def network(seed=0, biases=True):
    generator = torch.Generator().manual_seed(seed)
    model = Network().double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
            if name.endswith("bias") and not biases:
                p.zero_()
        for m in (model.stem[1], model.right):
            m.running_mean.copy_(torch.randn(3, generator=generator) if biases else torch.zeros(3))
            m.running_var.copy_(torch.rand(3, generator=generator) + 0.3)
    return model


def scans(batch=2, seed=1):
    return torch.randn(batch, 1, 4, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_balanced(books, tolerance=1e-10):
    size = max(1.0, max(float(e.arrived.abs().max()) for e in books.entries))
    absorbed = torch.stack([e.absorbed for e in books.entries]).sum(0)
    torch.testing.assert_close(books.start - books.input, absorbed, rtol=0, atol=tolerance * size)
    for e in books.entries:
        torch.testing.assert_close(e.arrived, e.passed_on + e.bias + e.other, rtol=0, atol=tolerance * size)


@settings(derandomize=True)
@given(
    st.sampled_from(list(PRESETS)), st.integers(0, 999), st.sampled_from([{"start": "logit"}, {"start": "probability"}])
)
def test_books_balance(preset, seed, options):
    model, x = network(seed), scans(seed=seed)
    lrp = LRP(model, PRESETS[preset])
    books = lrp.report(x, [0, 1], **options)
    relevance = lrp.attribute(x, [0, 1], **options)
    scores = model(x).detach()
    scores = scores.softmax(1) if options["start"] == "probability" else scores
    torch.testing.assert_close(books.start, scores[[0, 1], [0, 1]], rtol=1e-10, atol=1e-12)
    size = max(1.0, float(relevance.abs().sum()))
    torch.testing.assert_close(books.input, relevance.flatten(1).sum(1), rtol=0, atol=1e-10 * size)
    assert_balanced(books)
    entries = {e.layer: e for e in books.entries}
    for quiet in ("stem.2", "stem.3", "act", "flatten", "cat"):  # activations, pooling and seams keep nothing
        torch.testing.assert_close(entries[quiet].other, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-10 * size)
    if preset in ("ignore", "distribute", "boehle2019"):
        assert not any(e.bias.any() for e in books.entries)


def test_layers_of_the_report_are_those_of_the_maps():
    lrp, x = LRP(network(), composites.alpha_beta(1.0)), scans()
    books = lrp.report(x, 1, start="logit")
    _, layers = lrp.attribute(x, 1, return_layers=True, start="logit")
    assert books.entries[0].layer == "fc"
    assert books.entries[-1].layer == "stem.0 + stem.1"
    for e in books.entries:
        torch.testing.assert_close(e.arrived, layers[e.layer.split(" + ")[0]].flatten(1).sum(1))


def test_what_the_bias_takes_by_hand():
    model = nn.Sequential(nn.Linear(2, 1), nn.Identity()).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, -1.0]]))
        model[0].bias.fill_(3.0)
    x = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)  # logits 4 - 1 + 3 = 6 and 2 - 1 + 3 = 4
    books = LRP(model, composites.epsilon(0)).report(x, start="logit")
    linear = books.entries[1]
    assert linear.layer == "0"
    assert linear.arrived.tolist() == [6, 4]
    assert linear.bias.tolist() == [3, 3]
    assert linear.other.tolist() == [0, 0]
    assert books.input.tolist() == [3, 1]
    # a large epsilon: z + epsilon = 12 and 10, so contributions and bias get their share of 6/12 and 4/10
    books = LRP(model, composites.epsilon(6.0)).report(x, start="logit")
    torch.testing.assert_close(books.entries[1].bias, torch.tensor([1.5, 1.2], dtype=torch.float64))
    torch.testing.assert_close(books.entries[1].other, torch.tensor([3.0, 2.4], dtype=torch.float64))
    # alpha 2, beta 1: 2 * 6 * 3 / 7 of the positive part 4 + 3 goes to the bias
    books = LRP(model, Composite({nn.Linear: AlphaBeta(beta=1.0, epsilon=0)})).report(x[:1], start="logit")
    torch.testing.assert_close(books.entries[1].bias, torch.tensor([36 / 7], dtype=torch.float64))


@pytest.mark.parametrize("preset", ["plain", "ignore"])
def test_nothing_is_lost_without_biases(preset):
    composite = composites.everywhere(Epsilon(0, bias="ignore" if preset == "ignore" else "absorb"))
    books = LRP(network(biases=False), composite).report(scans(), 1, start="logit")
    torch.testing.assert_close(books.input, books.start, rtol=1e-10, atol=0)
    assert all(float(e.absorbed.abs().max()) < 1e-10 * float(books.start.abs().max()) for e in books.entries)
    assert str(books).splitlines()[1].startswith(f"{len(books.entries)} other steps pass on all")


class WithoutBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x.flatten())[None]


def test_a_layer_without_an_axis_of_samples_is_booked_as_one_sample():
    torch.manual_seed(0)
    model, x = WithoutBatch().double().eval(), torch.rand(1, 3, dtype=torch.float64)
    with torch.no_grad():
        logit, bias = model(x)[0, 1], model.fc.bias[1]
        stable = logit + 0.5 * logit.sign()
    books = LRP(model, composites.epsilon(0.5)).report(x, 1, start="logit")
    (entry,) = [e for e in books.entries if e.layer == "fc"]
    torch.testing.assert_close(entry.arrived, logit[None], rtol=1e-12, atol=0)
    torch.testing.assert_close(entry.bias, (logit * bias / stable)[None], rtol=1e-12, atol=0)
    torch.testing.assert_close(entry.passed_on, (logit * (logit - bias) / stable)[None], rtol=1e-12, atol=0)


def test_conditions_and_hidden_starts_are_booked():
    lrp, x = LRP(network(), composites.epsilon()), scans()
    books = lrp.report(x, 1, conditions={"stem.3": [0, 2]}, start="logit")
    assert_balanced(books)
    mask = next(e for e in books.entries if e.layer == "stem.3 (condition)")
    _, layers = lrp.attribute(x, 1, return_layers=True, start="logit")
    torch.testing.assert_close(mask.absorbed, layers["stem.3"][:, 1].flatten(1).sum(1))
    books = lrp.report(x, layer="stem.0", neuron=1)
    assert [e.layer for e in books.entries] == ["stem.0"]
    torch.testing.assert_close(books.start, network().stem[0](x)[:, 1].detach().flatten(1).sum(1))
    assert_balanced(books)


def test_single_precision_and_table():
    model, x = network().float(), scans().float()
    books = LRP(model, composites.epsilon()).report(x, 1, start="logit")
    assert books.start.dtype == torch.float64
    assert_balanced(books, 1e-6)  # maps that meet are added in single precision
    lines = str(books).splitlines()
    assert lines[0].split() == ["layer", "arrived", "passed", "on", "bias", "other"]
    row = next(line for line in lines if line.startswith("fc "))
    fc = books.entries[0]
    assert [float(n) for n in row.split()[1:4]] == pytest.approx(
        [float(v.mean()) for v in (fc.arrived, fc.passed_on, fc.bias)], rel=1e-5
    )
    assert f"start {float(books.start.mean()):.6g}, input {float(books.input.mean()):.6g}" in lines[-1]
    assert lines[-1].endswith("(mean of 2 samples)")
    with pytest.raises(InputError, match="target is None"):
        LRP(model, composites.epsilon()).report(x, start="logit")
