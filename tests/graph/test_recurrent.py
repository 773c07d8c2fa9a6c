"""Recurrent layers are followed through the steps of their cells."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from neuroxai.lrp import LRP, Epsilon, composites
from neuroxai.lrp.conservation import ConservationWarning
from oracles.lrp_zero import lrp_zero

pytestmark = pytest.mark.filterwarnings("ignore::neuroxai.lrp.conservation.ConservationWarning")

LAYERS = {
    "LSTM": lambda **options: nn.LSTM(5, 4, **options),
    "LSTM, two layers": lambda **options: nn.LSTM(5, 4, 2, dropout=0.5, **options),
    "LSTM, both ways": lambda **options: nn.LSTM(5, 4, 2, bidirectional=True, **options),
    "LSTM, projected": lambda **options: nn.LSTM(5, 4, proj_size=3, **options),
    "GRU": lambda **options: nn.GRU(5, 4, **options),
    "GRU, both ways": lambda **options: nn.GRU(5, 4, bidirectional=True, **options),
    "RNN": lambda **options: nn.RNN(5, 4, **options),
    "RNN, ReLU": lambda **options: nn.RNN(5, 4, nonlinearity="relu", **options),
}


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


class Network(nn.Module):
    """A recurrent layer, and a linear layer of what it puts out last, and of its last state."""

    def __init__(self, layer, lengths=None):
        super().__init__()
        self.layer, self.lengths = layer, lengths
        size = (2 if layer.bidirectional else 1) * (getattr(layer, "proj_size", 0) or layer.hidden_size)
        self.head = nn.Linear(2 * size, 2, bias=False)

    def forward(self, x):
        given = x if self.layer.batch_first else x.transpose(0, 1)
        if self.lengths is not None:
            given = pack_padded_sequence(given, self.lengths, self.layer.batch_first, enforce_sorted=False)
        output, state = self.layer(given)
        if self.lengths is not None:
            output = pad_packed_sequence(output, self.layer.batch_first, total_length=x.shape[1])[0]
        last = state[0] if isinstance(state, tuple) else state
        ways = 2 if self.layer.bidirectional else 1
        pooled = output.sum(1 if self.layer.batch_first else 0)
        return self.head(torch.cat([pooled, *last[-ways:]], 1))


def lrp(model):
    return LRP(model.double().eval(), composites.everywhere(Epsilon(0.0)))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_without_biases_nothing_is_lost(name, batch_first):
    model = Network(LAYERS[name](bias=False, batch_first=batch_first)).double().eval()
    x = torch.randn(3, 6, 5, dtype=torch.float64)
    relevance = lrp(model).attribute(x, 1)
    torch.testing.assert_close(relevance.sum((1, 2)), model(x)[:, 1], rtol=1e-8, atol=1e-12)
    assert relevance.abs().sum((0, 2)).min() > 0  # every step has its share


@pytest.mark.parametrize("name", LAYERS)
def test_packed_sequences_are_explained_as_each_alone(name):
    layer = LAYERS[name](batch_first=True)
    x, lengths = torch.randn(3, 6, 5, dtype=torch.float64), torch.tensor([4, 6, 1])
    together = Network(layer, lengths)
    relevance = lrp(together).attribute(x, 1)
    for number, length in enumerate(lengths.tolist()):
        alone = Network(layer)
        alone.head = together.head
        expected = lrp(alone).attribute(x[number : number + 1, :length], 1)
        torch.testing.assert_close(relevance[number : number + 1, :length], expected, rtol=1e-9, atol=1e-13)
        assert not relevance[number, length:].any()


class Cells(nn.Module):
    """A layer's cell, run in a loop."""

    def __init__(self, layer, cell):
        super().__init__()
        self.cell, self.head = cell(5, 4), nn.Linear(4, 2)
        for name, value in layer.named_parameters():
            setattr(self.cell, name.removesuffix("_l0"), value)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize(("name", "cell"), [("LSTM", nn.LSTMCell), ("GRU", nn.GRUCell), ("RNN", nn.RNNCell)])
def test_a_cell_in_a_loop_is_its_layer(name, cell):
    layer = LAYERS[name](batch_first=True)
    loop = Cells(layer, cell)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = layer, loop.head

        def forward(self, x):
            return self.head(self.layer(x)[0][:, -1])

    x = torch.randn(2, 6, 5, dtype=torch.float64)
    found, expected = lrp(loop).attribute(x, 0), lrp(Last()).attribute(x, 0)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_a_plain_recurrence_is_a_deep_network():
    layer = LAYERS["RNN"](batch_first=True).double()

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = layer, model.head

        def forward(self, x):
            w, u, b, c = (getattr(self.layer, f"{n}_l0") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h, found = x[:, 0, :4] * 0, []
            for step in x.unbind(1):
                h = torch.tanh(step @ w.T + b + h @ u.T + c)
                found.append(h)
            return self.head(torch.cat([sum(found), h], 1))

    model = Network(layer).double().eval()
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    expected = lrp_zero(Written(), x, 1)
    torch.testing.assert_close(lrp(model).attribute(x, 1), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.filterwarnings("default::neuroxai.lrp.conservation.ConservationWarning")
def test_of_states_below_0_z_plus_says_that_nothing_arrives():
    layer = nn.LSTM(1, 1, batch_first=True, bias=False)
    model = Network(layer)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.fill_(-1.0)  # the state is a sum of two that lie below 0
        model.head.weight.fill_(-1.0)
    x = torch.ones(1, 2, 1, dtype=torch.float64)
    lost = LRP(model.double().eval(), "z_plus")
    with pytest.warns(ConservationWarning):
        lost.attribute(x, 1)
    assert lrp(model).attribute(x, 1).sum() == pytest.approx(model(x)[0, 1].item())
