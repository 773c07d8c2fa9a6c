from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from neuroxai.networks import Block, ConvNet, PatchNet, PifNet

BLOCKS = [Block(4, pool=2), Block(6, pool=2)]


def networks():
    shape = (22, 24, 23)
    yield ConvNet(shape, BLOCKS, hidden=(5,), checkpointing=True)
    yield ConvNet(shape, BLOCKS, norm=False, activation="elu", checkpointing=True)
    yield PifNet(shape, BLOCKS, 2, 4, checkpointing=True)
    yield PatchNet((22, 24, 24), [Block(3, pool=2)], (1, 2, 1), checkpointing=True)


def step(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    network.zero_grad()
    logits = network(x)
    logits.square().sum().backward()
    return logits.detach(), [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("which", range(4))
def test_gradients_and_running_statistics_do_not_depend_on_it(which):
    torch.manual_seed(2)
    saving = list(networks())[which].double().train()
    plain = copy.deepcopy(saving)
    for module in plain.modules():
        if hasattr(module, "checkpointing"):
            module.checkpointing = False
    x = torch.randn(3, 1, 22, 24, saving.in_shape[2], dtype=torch.float64)
    for _ in range(2):
        for got, wanted in zip(step(saving, x), step(plain, x), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    for (name, got), (_, wanted) in zip(saving.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12, msg=name)
    assert all(getattr(m, "momentum", 0.1) == 0.1 for m in saving.modules())


def test_fewer_activations_are_kept():
    def kept(network):
        sizes = {}

        def count(tensor):
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network(torch.rand(2, 1, 40, 40, 40)).sum()
        return sum(sizes.values())

    options = ((40, 40, 40), [Block(16, pool=3), Block(4, pool=2)])
    assert kept(ConvNet(*options, checkpointing=True)) < 0.2 * kept(ConvNet(*options))


def test_dropout_draws_the_same_mask_when_computed_again():
    torch.manual_seed(0)
    network = ConvNet((22, 22, 22), BLOCKS, norm=False, pool_dropout=0.5, checkpointing=True).double()
    x = torch.randn(2, 1, 22, 22, 22, dtype=torch.float64)
    weight = network.features.conv1.weight

    def loss():
        torch.manual_seed(5)
        return network(x).square().sum()

    loss().backward()
    direction = torch.randn_like(weight)
    expected = (weight.grad * direction).sum()
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight += sign * 1e-6 * direction
            network.checkpointing = True
            with torch.enable_grad():
                values.append(loss().item())
            weight -= sign * 1e-6 * direction
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected.item(), rel=1e-4)


def test_evaluation_is_left_alone():
    network = ConvNet((22, 22, 22), BLOCKS, checkpointing=True).eval()
    x = torch.rand(1, 1, 22, 22, 22)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))
