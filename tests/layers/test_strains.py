from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import SpaceError
from neuroxai.layers import PatchIndividualFilter


@st.composite
def layers(draw):
    """Draw a layer of any geometry."""
    axes = draw(st.integers(1, 3))
    patch = [draw(st.integers(1, 4)) for _ in range(axes)]
    shape = [draw(st.integers(p, 9)) for p in patch]
    padding = draw(st.one_of(st.just("same"), st.lists(st.integers(0, 2), min_size=axes, max_size=axes)))
    if padding == "same":
        kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
        stride = [1] * axes
    else:
        kernel = [draw(st.integers(1, min(4, n + 2 * p))) for n, p in zip(patch, padding, strict=True)]
        stride = [draw(st.integers(1, 3)) for _ in range(axes)]
    layer = PatchIndividualFilter(
        axes,
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        shape,
        patch,
        kernel,
        draw(st.sampled_from(["half", "reference", None])),
        draw(st.booleans()),
        stride,
        padding,
        draw(st.booleans()),
    )
    return layer.double()


@given(layers(), st.integers(1, 9), st.integers(0, 1000))
def test_transpose_is_the_exact_transpose_for_any_number_of_stacked_filters(layer, filters, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x = normal(2, layer.in_channels, *layer.in_shape)
    for strain in layer.strains:
        weight = normal(len(strain.inputs), filters, layer.in_channels, *layer.kernel_size)
        y = strain.forward(x, weight)
        signal = normal(*y.shape)
        back = strain.transpose(signal, weight, x.shape)
        assert back.shape == x.shape
        torch.testing.assert_close((y * signal).sum(), (x * back).sum(), rtol=1e-11, atol=1e-11)


@given(layers())
def test_transpose_equals_the_gradient(layer):
    x = torch.randn(1, layer.in_channels, *layer.in_shape, dtype=torch.float64, requires_grad=True)
    for strain in layer.strains:
        weight = layer.weight.detach()[strain.patches]
        y = strain.forward(x, weight)
        signal = torch.randn_like(y)
        torch.testing.assert_close(strain.transpose(signal, weight, x.shape), torch.autograd.grad(y, x, signal)[0])


@given(layers())
def test_the_layer_is_its_strains_side_by_side(layer):
    x = torch.randn(2, layer.in_channels, *layer.in_shape, dtype=torch.float64)
    parts = [
        strain.forward(x, layer.weight[strain.patches], None if layer.bias is None else layer.bias[strain.patches])
        for strain in layer.strains
    ]
    torch.testing.assert_close(layer(x), torch.cat(parts, 1 if layer.reassemble else 2), rtol=1e-12, atol=1e-12)


def test_another_grid_is_refused_both_ways():
    layer = PatchIndividualFilter(2, 1, 1, (6, 6), 3)
    strain = layer.strains[0]
    weight = layer.weight[strain.patches]
    with pytest.raises(SpaceError, match=r"\(6, 5\), expected \(6, 6\)"):
        strain.forward(torch.zeros(1, 1, 6, 5), weight)
    with pytest.raises(SpaceError, match=r"\(6, 5\), expected \(6, 6\)"):
        strain.transpose(torch.zeros(1, 1, 2, 2), weight, (1, 1, 6, 5))
    with pytest.raises(SpaceError, match=r"\(3, 2\), expected \(2, 2\)"):
        strain.transpose(torch.zeros(1, 1, 3, 2), weight, (1, 1, 6, 6))
