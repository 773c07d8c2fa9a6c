from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from neuroxai.errors import InputError, SpaceError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.networks import Block, PifNet, model_a_pif


def test_a_small_one_learns_and_gives_logits():
    torch.manual_seed(0)
    net = PifNet((20, 23, 18), [Block(4, pool=2)], 2, 4, in_channels=2, num_classes=3, hidden=(8,))
    x = torch.randn(6, 2, 20, 23, 18)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert net(x).shape == (6, 3)
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("reassemble", [False, True])
def test_the_patch_individual_layer_sees_the_last_feature_map(reassemble):
    net = PifNet((24, 27, 22), [Block(3, pool=2), Block(4)], 2, (3, 4, 3), reassemble=reassemble)
    pif = net.features.pif
    assert isinstance(pif, PatchIndividualFilter)
    shapes = []
    net.features.conv2.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape[1:])))
    net(torch.zeros(1, 1, 24, 27, 22))
    assert shapes == [(4, *pif.in_shape)]
    assert [n for n, _ in net.features.named_children()] == ["conv1", "act1", "pool1", "conv2", "act2", "pif", "act3"]


def test_the_smallest_grid_is_named_and_works():
    options = ([Block(2, pool=3), Block(2)], 2, 5)
    with pytest.raises(SpaceError, match="at least 23 voxels"):
        PifNet((23, 22, 23), *options)
    assert PifNet((23, 23, 23), *options)(torch.zeros(1, 1, 23, 23, 23)).shape == (1, 1)
    with pytest.raises(SpaceError, match=r"at least 15 voxels\) or a finer grid"):
        PifNet((14, 15, 15), *options)
    assert PifNet((15, 16, 17), *options, padding="same")(torch.zeros(1, 1, 15, 16, 17)).shape == (1, 1)


def test_another_grid_and_bad_options_are_refused():
    net = PifNet((24, 27, 22), [Block(3, pool=2), Block(4)], 2, (3, 4, 3))
    with pytest.raises(SpaceError, match="expected"):
        net(torch.zeros(1, 1, 27, 24, 22))
    with pytest.raises(InputError, match="0 logits"):
        PifNet((24, 27, 22), [Block(3)], 2, num_classes=0)
    with pytest.raises(InputError, match="unknown overlap 'whole'"):
        PifNet((24, 27, 22), [Block(3)], 2, overlap="whole")


def test_torchscript_and_export_give_the_same_logits():
    net = model_a_pif((96, 96, 96)).eval()
    x = torch.rand(1, 1, 96, 96, 96)
    with torch.no_grad():
        wanted = net(x)
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(net), file)
        file.seek(0)
        torch.testing.assert_close(torch.jit.load(file)(x), wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), wanted, rtol=1e-5, atol=1e-5)
