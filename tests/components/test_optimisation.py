from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Engine
from torch.nn import functional

from neuroxai.components import InverseTimeDecay, parameter_groups
from neuroxai.errors import InputError
from neuroxai.networks import Block, ConvNet, ad_cnn


@pytest.fixture
def network():
    torch.manual_seed(3)
    # as ms_cnn, but narrow; the norm scales no gradient to nought, which Adam would blow up again
    blocks = [Block(4, pool=2), Block(4), Block(6), Block(6, pool=2)]
    return ConvNet((12, 12, 12), blocks, num_classes=1, norm=False, activation="elu", padding="same").double()


def step(network, optimizer, penalty=None):
    generator = torch.Generator().manual_seed(0)
    scans = torch.rand(2, 1, *network.in_shape, generator=generator, dtype=torch.float64)
    loss = functional.binary_cross_entropy_with_logits(network(scans)[:, 0], torch.tensor([0.0, 1.0]).double())
    if penalty is not None:
        loss = loss + penalty(network)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_steps_equal_those_with_the_penalty_written_into_the_loss(network, kind):
    written = copy.deepcopy(network)

    def penalty(net):
        return 0.01 * net.features.conv3.weight.square().sum() + 0.2 * net.features.conv4.weight.square().sum()

    ours = kind(parameter_groups(network, l2={"conv3": 0.01, "features.conv4": 0.2}), lr=0.01)
    plain = kind(written.parameters(), lr=0.01)
    bare = copy.deepcopy(network)
    without = kind(bare.parameters(), lr=0.01)
    for _ in range(2):
        step(network, ours)
        step(written, plain, penalty)
        step(bare, without)
    for (name, mine), other in zip(network.named_parameters(), written.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12, msg=name)
    assert (network.features.conv4.weight - bare.features.conv4.weight).abs().max() > 1e-4


def test_every_parameter_stands_in_one_group_and_biases_go_without_penalty(network):
    base, third = parameter_groups(network, weight_decay=0.001, l2={"conv[34]": 0.01})
    assert base["weight_decay"] == 0.001
    assert third["weight_decay"] == pytest.approx(0.021)
    assert [id(p) for p in third["params"]] == [id(network.features.conv3.weight), id(network.features.conv4.weight)]
    ids = sorted(id(p) for group in (base, third) for p in group["params"])
    assert ids == sorted(id(p) for p in network.parameters())
    (alone,) = parameter_groups(network)
    assert len(alone["params"]) == len(list(network.parameters()))


def test_a_name_without_a_layer_is_refused_with_the_layers_there_are(network):
    with pytest.raises(InputError, match=r"'conv5'.*features.conv1, .*head.linear1"):
        parameter_groups(network, l2={"conv5": 0.01})
    with pytest.raises(InputError, match="no layer is named 'norm1'"):  # a scale, not a kernel
        parameter_groups(ad_cnn((36, 36, 36), padding="same"), l2={"norm1": 0.01})
    with pytest.raises(InputError, match=r"'conv3' and 'conv\?'.*features.conv3"):
        parameter_groups(network, l2={"conv3": 0.01, "conv?": 0.1})
    with pytest.raises(InputError, match=r"'conv3' is -0.1, expected 0 or more"):
        parameter_groups(network, l2={"conv3": -0.1})


def rates(decay, epochs, length=3, begin=0, state=None):
    """Learning rates of two parameter groups, iteration by iteration."""
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.Adam([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.1}], lr=5e-4)
    seen = []

    def update(engine, batch):
        seen.append([group["lr"] for group in optimizer.param_groups])

    trainer = Engine(update)
    InverseTimeDecay(optimizer, decay).attach(trainer)
    if state is not None:
        optimizer.load_state_dict(state)
    trainer.state.epoch, trainer.state.iteration = begin, begin * length
    trainer.state.max_epochs, trainer.state.epoch_length = epochs, length
    trainer.run([0] * length)
    return seen, optimizer.state_dict()


def test_the_rate_follows_keras_formula():
    seen, _ = rates(0.002, 4)
    expected = [[r / (1 + 0.002 * done) for r in (5e-4, 0.1)] for done in range(12)]
    assert seen == expected
    assert seen[0] == [5e-4, 0.1]


def test_a_resumed_run_goes_on_with_the_rate_of_an_uninterrupted_one():
    whole, _ = rates(0.002, 5)
    first, state = rates(0.002, 2)
    rest, _ = rates(0.002, 5, begin=2, state=state)
    assert first + rest == whole


def test_no_decay_leaves_the_rate_alone_and_a_negative_one_is_refused():
    seen, _ = rates(0.0, 2)
    assert seen == [[5e-4, 0.1]] * 6
    with pytest.raises(InputError, match="decay of the learning rate is -1"):
        rates(-1, 1)
