from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroxai.layers.convolution import FastConvolutions, convolve

GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (1, 2, 3), "padding": (0, 1, 2), "dilation": (2, 1, 1)},
    {"padding": 1, "groups": 2},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "stride": 2},
]
needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")


def tensors(groups: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 2, 9, 11, 10), (4, 2 // groups, 3, 3, 3), (4,)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return x, weight, bias


def paths(run: Any) -> set[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {event.key for event in profile.key_averages()} & {"aten::slow_conv3d", "aten::mkldnn_convolution"}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("given", GEOMETRIES)
def test_values_are_those_of_double_precision(given: dict[str, Any], memory: torch.memory_format) -> None:
    x, weight, bias = tensors(given.get("groups", 1))
    right = F.conv3d(x.double(), weight.double(), bias.double(), **given)
    with FastConvolutions(), torch.no_grad():
        found = F.conv3d(x.contiguous(memory_format=memory), weight.contiguous(memory_format=memory), bias, **given)
    torch.testing.assert_close(found.double(), right, rtol=0, atol=1e-5)


@needs_onednn
def test_onednn_runs_single_scans_which_torch_would_not_give_it() -> None:
    x, weight, bias = tensors()
    ones, none = (1, 1, 1), (0, 0, 0)
    assert paths(lambda: F.conv3d(x, weight, bias)) == {"aten::slow_conv3d"}, "torch has changed: is `convolve` needed?"
    assert paths(lambda: convolve(x, weight, bias, ones, none, ones, 1)) == {"aten::mkldnn_convolution"}
    with FastConvolutions():
        for padding in (0, "same", "valid"):
            assert paths(lambda p=padding: F.conv3d(x, weight, bias, padding=p)) == {"aten::mkldnn_convolution"}
        assert not paths(lambda: F.conv3d(x.double(), weight.double(), bias.double())) - {"aten::slow_conv3d"}


@needs_onednn
def test_equal_patches_give_equal_values() -> None:
    _, weight, bias = tensors()
    with FastConvolutions():
        found = F.conv3d(torch.full((1, 2, 13, 21, 17), 0.3), weight, bias).flatten(2)
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("given", GEOMETRIES)
def test_the_gradient_is_that_of_double_precision_and_weights_are_constants(given: dict[str, Any]) -> None:
    x, weight, bias = tensors(given.get("groups", 1))
    layer = nn.Conv3d(2, 4, 3, **given)
    layer.load_state_dict({"weight": weight, "bias": bias})
    x.requires_grad_()
    with FastConvolutions():
        layer(x).square().sum().backward()
    right = x.detach().double().requires_grad_()
    F.conv3d(right, weight.double(), bias.double(), **given).square().sum().backward()
    assert x.grad is not None
    assert right.grad is not None
    torch.testing.assert_close(x.grad.double(), right.grad, rtol=1e-5, atol=1e-4)
    assert layer.weight.grad is None
    assert layer.bias is not None
    assert layer.bias.grad is None


def test_weights_made_from_the_scan_keep_their_gradient() -> None:
    x, weight, bias = tensors()
    x.requires_grad_()

    def score() -> Tensor:
        return F.conv3d(x, weight * x.mean(), bias).sum()

    (right,) = torch.autograd.grad(score(), x)
    with FastConvolutions():
        (found,) = torch.autograd.grad(score(), x)
    torch.testing.assert_close(found, right)


def test_second_derivatives_are_those_of_torch() -> None:
    x, _, _ = tensors()
    layer = nn.Conv3d(2, 4, 3)
    x.requires_grad_()

    def second() -> Tensor:
        (first,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    right = second()
    with FastConvolutions():
        found = second()
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
