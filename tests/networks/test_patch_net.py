from __future__ import annotations

import pytest
import torch

from neuroxai.errors import InputError, SpaceError
from neuroxai.networks import Block, PatchNet

BLOCKS = [Block(3, pool=2)]


@pytest.mark.parametrize("shape", [(8, 12, 10), (9, 13, 11)])
def test_logits_are_the_average_over_patches_cut_by_hand(shape):
    net = PatchNet(shape, BLOCKS, (2, 3, 2), in_channels=2, num_classes=2).eval()
    x = torch.randn(2, 2, *shape)
    patch = net.shared.in_shape
    filled = torch.zeros(2, 2, *(n * p for n, p in zip((2, 3, 2), patch, strict=True)))
    filled[:, :, : shape[0], : shape[1], : shape[2]] = x
    logits = [
        net.shared(
            filled[
                :,
                :,
                i * patch[0] : (i + 1) * patch[0],
                j * patch[1] : (j + 1) * patch[1],
                k * patch[2] : (k + 1) * patch[2],
            ]
        )
        for i in range(2)
        for j in range(3)
        for k in range(2)
    ]
    torch.testing.assert_close(net(x), torch.stack(logits).mean(0))


def test_patches_share_their_weights():
    torch.manual_seed(1)
    net = PatchNet((8, 12, 10), BLOCKS, (2, 3, 2)).eval()
    x = torch.randn(1, 1, 8, 12, 10)
    pieces = x.reshape(2, 4, 3, 4, 2, 5)
    exchanged = pieces.flip(0, 2, 4).reshape(1, 1, 8, 12, 10)  # patches change places, not their insides
    torch.testing.assert_close(net(exchanged), net(x))
    assert not torch.allclose(net(x.flip(2)), net(x))


def test_another_grid_and_bad_options_are_refused():
    net = PatchNet((8, 12, 10), BLOCKS, (2, 3, 2))
    with pytest.raises(RuntimeError, match="unflatten"):
        net(torch.zeros(1, 1, 12, 8, 10))
    with pytest.raises(InputError, match=r"patches is \(2, 3\), expected three"):
        PatchNet((8, 12, 10), BLOCKS, (2, 3))
    with pytest.raises(InputError, match=r"patches is \(2, 0, 2\)"):
        PatchNet((8, 12, 10), BLOCKS, (2, 0, 2))
    with pytest.raises(SpaceError, match="three axis lengths"):
        PatchNet((8, 12), BLOCKS)
    with pytest.raises(SpaceError, match="each of its 12 patches: the grid"):
        PatchNet((6, 12, 10), BLOCKS, (2, 3, 2))


def test_torchscript_and_export_give_the_same():
    net = PatchNet((9, 13, 11), BLOCKS).eval()
    x = torch.randn(2, 1, 9, 13, 11)
    torch.testing.assert_close(torch.jit.script(net)(x), net(x))
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))
