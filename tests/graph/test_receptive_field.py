"""Receptive fields' centres against the voxels that really reach a cell; maps land where the effect is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from neuroxai import attribution
from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.graph.receptive_field import field_centres, placed
from neuroxai.graph.record import record
from neuroxai.layers import PatchIndividualFilter
from neuroxai.networks import ad_cnn


def centres(model, shape, layer):
    found = record(eval_copy(model.eval()), (torch.zeros(1, 1, *shape),))
    return field_centres(found, dict(found.layers)[layer])


def reached(model, size, cell):
    """First and last voxel that a cell reads; all weights are positive."""
    x = torch.ones(1, 1, size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[0, 0, cell], x)
    read = gradient[0, 0].nonzero().flatten()
    return int(read[0]), int(read[-1]), len(read)


step = st.tuples(
    st.sampled_from(["conv", "pool"]), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)
)


@given(steps=st.lists(step, min_size=1, max_size=3), size=st.integers(60, 75))
def test_centres_are_those_of_the_voxels_that_reach_a_cell(steps, size):
    layers, field, jump, left = [], 1, 1, size
    for kind, kernel, stride, padding, dilation in steps:
        padding, dilation = min(padding, kernel // 2), dilation if kind == "conv" else 1
        left = (left + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        assume(left > 0)
        if kind == "conv":
            layers.append(nn.Conv1d(1, 1, kernel, stride, padding, dilation))
        else:
            layers.append(nn.AvgPool1d(kernel, stride, padding))
        field, jump = field + dilation * (kernel - 1) * jump, jump * stride
    model = nn.Sequential(*layers).double()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    cells = model(torch.zeros(1, 1, size, dtype=torch.float64)).shape[2]
    (found,) = centres(model.float(), (size,), str(len(layers) - 1))
    model.double()
    assert len(found) == cells
    checked = 0
    for cell in range(cells):
        low, high, _ = reached(model, size, cell)
        if high - low + 1 == field:  # the border cut nothing off
            assert found[cell] == (low + high) / 2
            checked += 1
    assume(checked)
    assert np.allclose(np.diff(found), jump)


def test_the_alzheimers_network_by_hand():
    # valid convolutions of 3 and pooling 2, 3, 2: 1 + .5, + 2 + 2, + 6 + 3, + 12 voxels, and 12 from cell to cell
    found = centres(ad_cnn((96, 114, 96)), (96, 114, 96), "features.act4")
    assert found[0].tolist() == [26.5, 38.5, 50.5, 62.5]
    assert found[1][0] == 26.5
    assert found[1][1] == 38.5


def test_patches_by_hand():
    pif = PatchIndividualFilter(1, 1, 2, in_shape=(10,), patch_shape=4, kernel_size=3)
    model = nn.Sequential(nn.Conv1d(1, 1, 3), pif)  # 12 voxels; patches of 4 at 0, 4 and 8 (filled up), 2 cells of each
    (found,) = centres(model, (12,), "1")
    assert found.tolist() == [2.0, 3.0, 6.0, 7.0, 10.0, 11.0]


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 2, 3, padding="same"), nn.Conv2d(2, 2, 2)

    def forward(self, x):
        x = F.max_pool2d(F.elu(self.a(x)), 3, stride=2)
        return self.b(x + x.relu())


def test_functions_and_sums():
    found = centres(Functional(), (11, 9), "b")
    assert [axis.tolist() for axis in found] == [[2.0, 4.0, 6.0, 8.0], [2.0, 4.0, 6.0]]


def test_padding_layers():
    found = centres(nn.Sequential(nn.ConstantPad2d((1, 0, 2, 3), 0.0), nn.Conv2d(1, 1, 3)), (6, 5), "1")
    assert [axis.tolist() for axis in found] == [[-1.0, 0, 1, 2, 3, 4, 5, 6, 7], [0.0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ConvTranspose1d(1, 1, 2, 2), np.arange(8) / 2 - 0.25),
        (nn.ConvTranspose1d(1, 1, 3, 2, 1), np.arange(7) / 2),
        (nn.Upsample(scale_factor=2), np.arange(8) / 2 - 0.25),
        (nn.Upsample(7, mode="linear", align_corners=True), np.arange(7) / 2),
        (nn.AdaptiveAvgPool1d(2), np.array([0.5, 2.5])),
        (nn.AdaptiveAvgPool1d(3), np.array([0.5, 1.5, 2.5])),  # cells 0-1, 1-2, 2-3
    ],
)
def test_up_sampling_and_adaptive_pooling_by_hand(layer, expected):
    (found,) = centres(nn.Sequential(layer), (4,), "0")
    assert np.allclose(found, expected)


def test_pads_of_other_kinds():
    model = nn.Sequential(nn.ReplicationPad2d((1, 0, 2, 3)), nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"))
    found = centres(model, (6, 5), "1")
    assert [axis.tolist() for axis in found] == [list(range(-2, 9)), list(range(-1, 5))]


class Placed(nn.Module):
    """Coordinates beside the scan, channels filled up, a border cut off."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 2, 3), nn.Conv1d(4, 1, 2, 2)

    def forward(self, x):
        x = self.a(torch.cat([x, torch.linspace(0, 1, x.shape[-1]).expand_as(x)], 1))
        return self.b(F.pad(x, (-1, 0, 1, 1)))


def test_constants_and_channels_beside_the_map():
    assert centres(Placed(), (12,), "b")[0].tolist() == [2.5, 4.5, 6.5, 8.5]  # 1 .. 10, then 2 .. 10 by twos


def test_normalisations_of_channels_by_hand_and_gates_are_followed():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.gate = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 2), nn.Conv2d(2, 1, 1)

        def forward(self, x):
            x = self.a(x)
            x = x - x.mean(1, keepdim=True)
            x = x / torch.sqrt(x.pow(2).mean(dim=-3, keepdim=True) + 1e-6)
            seen = torch.cat([x.flip(2).mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
            return self.b(x * torch.sigmoid(self.gate(seen)).expand_as(x))

    assert [axis.tolist() for axis in centres(Network(), (6, 5), "b")] == [[1.5, 2.5, 3.5], [1.5, 2.5]]


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        (lambda x: x[:, 1:2], [[0.5, 1.5, 2.5, 3.5, 4.5], [0.5, 1.5, 2.5, 3.5]]),
        (lambda x: x.split(1, dim=1)[2], [[0.5, 1.5, 2.5, 3.5, 4.5], [0.5, 1.5, 2.5, 3.5]]),
        (lambda x: torch.chunk(x, 3, -3)[0], [[0.5, 1.5, 2.5, 3.5, 4.5], [0.5, 1.5, 2.5, 3.5]]),
        (lambda x: x[:, :1, 1:, -3:], [[1.5, 2.5, 3.5, 4.5], [2.5, 3.5]]),
        (lambda x: x[:, :1, 1:5:2], [[2.0], [0.5, 1.5, 2.5, 3.5]]),
        (lambda x: x[:, :1].chunk(2, 2)[1], None),
    ],
)
def test_modalities_and_crops_are_followed(pick, expected):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 2)

        def forward(self, x):
            return self.conv(pick(x))

    found = record(eval_copy(Network().eval()), (torch.rand(1, 3, 6, 5),))
    if expected is None:
        with pytest.raises(UnsupportedLayerError, match="cannot be followed"):
            field_centres(found, dict(found.layers)["conv"])
    else:
        assert [axis.tolist() for axis in field_centres(found, dict(found.layers)["conv"])] == expected


class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 2, 3), nn.Conv1d(2, 2, 3)

    def forward(self, x):
        return self.b(torch.flip(self.a(x), (2,)))


def test_what_moves_voxels_about_is_refused_by_name():
    with pytest.raises(UnsupportedLayerError, match=r"cannot be followed behind operation 'flip'"):
        centres(Turned(), (20,), "b")


def test_placed_by_hand():
    coarse = torch.tensor([[[0.0, 1.0, 3.0]]], dtype=torch.float64)
    got = placed(coarse, [np.array([1.0, 3.0, 7.0])], torch.Size([10]))
    wanted = [0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0]
    torch.testing.assert_close(got, torch.tensor([[wanted]], dtype=torch.float64))


@pytest.mark.parametrize("voxel", [(13, 26, 16), (26, 13, 17), (16, 17, 13)])
def test_the_map_lies_where_the_effect_is(voxel):
    """A network of equal weights and a bright voxel: the map's peak is at most half a cell (of 4 voxels) off."""
    body = [nn.Conv3d(1, 1, 3), nn.ReLU(), nn.AvgPool3d(2), nn.Conv3d(1, 1, 3), nn.ReLU(), nn.AvgPool3d(2)]
    body += [nn.Conv3d(1, 1, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*body)
    model.append(nn.Linear(model(torch.zeros(1, 1, 40, 42, 44)).shape[1], 1)).eval()
    for name, parameter in model.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    nn.init.dirac_(model[6].weight)  # or three cells in a row would peak alike
    x = torch.zeros(1, 1, 40, 42, 44)
    x[(0, 0, *voxel)] = 1

    def miss(**options):
        found = attribution.create("grad_cam", model, **options).attribute(x)[0, 0]
        peak = (found == found.max()).nonzero().double().mean(dim=0)
        return float((peak - torch.tensor(voxel)).abs().max())

    assert miss() <= 2
    assert miss(placement="stretch") > 2.5
