from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers.thirds import sampled
from neuroxai.errors import InputError, SpaceError
from neuroxai.layers import PatchIndividualFilter
from oracles.pif import pif as slow_pif

PUBLISHED = Path(__file__).parent / "fixtures" / "pif_published_small.npz"


def slow(layer, x):
    sides = layer.strains[0]
    return slow_pif(
        x.numpy(),
        layer.weight.detach().numpy(),
        None if layer.bias is None else layer.bias.detach().numpy(),
        layer.patch_shape,
        layer.stride,
        sides.before,
        sides.after,
        layer.overlap,
        layer.reassemble,
    )


@pytest.mark.parametrize("reassemble", [False, True])
@pytest.mark.parametrize("name", ["adni", "even", "pad"])
def test_reference_equals_the_published_layer(name, reassemble):
    with np.load(PUBLISHED) as figures:
        x, weight, bias, y, patch = (
            torch.tensor(figures[f"{name}_{int(reassemble)}_{k}"]) for k in ["x", "w", "b", "y", "patch"]
        )
    layer = PatchIndividualFilter(
        3, x.shape[1], weight.shape[1], x.shape[2:], patch.tolist(), overlap="reference", reassemble=reassemble
    ).double()
    layer.load_state_dict({"weight": weight, "bias": bias})
    assert layer.output_shape == tuple(y.shape[1:])
    torch.testing.assert_close(layer(x).detach(), y, rtol=0, atol=1e-12)


GEOMETRIES = {
    "published ADNI": {"in_shape": (10, 13, 10), "patch_shape": 5},
    "even, uneven axes": {"in_shape": (8, 7, 11), "patch_shape": (4, 3, 5), "kernel_size": (3, 2, 3)},
    "strides": {"in_shape": (10, 7, 9), "patch_shape": (5, 4, 3), "stride": (2, 1, 2), "padding": (1, 0, 1)},
    "more zeros than kernel": {"in_shape": (6, 5, 4), "patch_shape": (3, 5, 2), "padding": 2},
    "same": {"in_shape": (9, 6, 7), "patch_shape": (4, 3, 7), "padding": "same"},
    "same, even kernel": {"in_shape": (5, 4, 6), "patch_shape": (3, 2, 3), "kernel_size": 2, "padding": "same"},
    "single patches": {"in_shape": (5, 9, 4), "patch_shape": (5, 3, 4), "kernel_size": (3, 3, 1)},
    "one patch": {"in_shape": (4, 5, 3), "patch_shape": (4, 5, 3), "kernel_size": 2},
}


@pytest.mark.parametrize("reassemble", [False, True])
@pytest.mark.parametrize("overlap", ["half", "reference", None])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_overlap_equals_the_slow_loop(geometry, overlap, reassemble):
    torch.manual_seed(4)
    layer = PatchIndividualFilter(3, 2, 2, overlap=overlap, reassemble=reassemble, **GEOMETRIES[geometry]).double()
    x = torch.randn(2, 2, *layer.in_shape, dtype=torch.float64)
    got = layer(x).detach()
    assert tuple(got.shape[1:]) == layer.output_shape
    np.testing.assert_allclose(got.numpy(), slow(layer, x), rtol=0, atol=1e-12)


@given(
    st.integers(1, 2).flatmap(
        lambda axes: st.tuples(
            st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=axes, max_size=axes),
            st.sampled_from(["half", "reference", None]),
            st.booleans(),
        )
    )
)
def test_one_and_two_axes_equal_the_slow_loop(drawn):
    sizes, overlap, reassemble = drawn
    patch = [min(p, n) for n, p in sizes]
    kernel = [min(3, p) for p in patch]
    layer = PatchIndividualFilter(len(sizes), 2, 3, [n for n, _ in sizes], patch, kernel, overlap, reassemble).double()
    x = torch.randn(2, 2, *layer.in_shape, dtype=torch.float64)
    np.testing.assert_allclose(layer(x).detach().numpy(), slow(layer, x), rtol=0, atol=1e-12)


def test_the_overlap_strain_is_put_back_where_it_came_from():
    """An identity kernel with stride 1 shows each strain's view of the grid: both agree where the overlap reaches."""
    layer = PatchIndividualFilter(3, 1, 1, (10, 13, 8), (5, 4, 3), kernel_size=1, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.rand(1, 1, 10, 13, 8)
    plain, overlap = layer(x).detach()[0]
    assert torch.equal(plain[:10, :13, :8], x[0, 0])
    inside = (slice(2, 7), slice(2, 14), slice(1, 7))
    assert torch.equal(overlap[inside], plain[inside])
    assert overlap.sum() == pytest.approx(overlap[inside].sum().item())
    wrong = PatchIndividualFilter(3, 1, 1, (10, 13, 8), (5, 4, 3), kernel_size=1, bias=False, overlap="reference")
    nn.init.ones_(wrong.weight)
    assert not torch.equal(wrong(x)[0, 1][inside], plain[inside])  # the published code's slip


@pytest.mark.parametrize("reassemble", [False, True])
def test_neurons_are_those_that_see_the_patch_and_the_filter(reassemble):
    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 4), (3, 4, 4), reassemble=reassemble).double()
    x = torch.randn(1, 2, 7, 9, 4, dtype=torch.float64)
    before = layer(x).detach()
    seen = torch.zeros(layer.output_shape)
    for patch in range(layer.patches):
        for number in range(3):
            changed = copy.deepcopy(layer)
            with torch.no_grad():
                changed.bias[patch, number] += 1
            wanted = (changed(x).detach() - before)[0] != 0
            picked = torch.zeros_like(wanted)
            picked[layer.neurons(patch, number)] = True
            assert torch.equal(picked, wanted)
            seen += picked
    assert seen.max() == 1  # no neuron belongs to two


def test_neurons_that_do_not_exist_are_refused():
    layer = PatchIndividualFilter(3, 2, 3, (10, 13, 10), 5)
    with pytest.raises(InputError, match="patch is 14; this layer has 14, numbered 0 to 13"):
        layer.neurons(14, 0)
    with pytest.raises(InputError, match="filter is -1; this layer has 3, numbered 0 to 2"):
        layer.neurons(0, -1)


@pytest.mark.parametrize("overlap", [None, "half"])
def test_a_layer_of_one_patch_is_an_ordinary_convolution(overlap):
    torch.manual_seed(1)
    layer = PatchIndividualFilter(3, 3, 8, (6, 5, 7), (6, 5, 7), overlap=overlap, padding=1)
    torch.manual_seed(1)
    ordinary = nn.Conv3d(3, 8 * len(layer.strains), 3, padding=1)
    torch.testing.assert_close(layer.weight.flatten(0, 1), ordinary.weight)  # drawn alike
    ordinary.load_state_dict({"weight": layer.weight.flatten(0, 1), "bias": layer.bias.flatten()})
    x = torch.randn(2, 3, 6, 5, 7)
    torch.testing.assert_close(layer(x), ordinary(x), rtol=1e-6, atol=1e-6)
    if overlap is None:  # to the last bit, in the memory format that the layer works in
        assert torch.equal(layer(x), ordinary(x.to(memory_format=torch.channels_last_3d)))
        assert torch.equal(layer.double()(x.double()), ordinary.double()(x.double()))


@pytest.mark.parametrize("reassemble", [False, True])
@pytest.mark.parametrize("overlap", ["half", "reference"])
def test_gradients_flow_to_both_strains_and_are_right(overlap, reassemble):
    layer = PatchIndividualFilter(
        2, 2, 2, (5, 7), (2, 3), 2, overlap, reassemble, stride=(1, 2), padding=(1, 0)
    ).double()
    x = torch.randn(2, 2, 5, 7, dtype=torch.float64, requires_grad=True)

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))
    layer(x).square().sum().backward()
    assert (layer.weight.grad.flatten(1) != 0).any(1).all()


def test_second_derivatives_are_right():
    layer = PatchIndividualFilter(1, 1, 2, (6,), 3, 2).double()
    x = torch.randn(1, 1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_layers_stack_with_norm_and_activation_between():
    net = nn.Sequential(
        PatchIndividualFilter(3, 1, 2, (8, 9, 7), 4, padding="same"),
        nn.BatchNorm3d(4),
        nn.ELU(),
        PatchIndividualFilter(3, 4, 2, (8, 12, 8), (3, 4, 4)),
        nn.BatchNorm3d(4),
        nn.ELU(),
        nn.Flatten(),
        nn.LazyLinear(1),
    )
    x = torch.randn(4, 1, 8, 9, 7)
    labels = torch.tensor([0.0, 1, 0, 1])
    net(x)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(x).flatten(), labels)
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    assert losses[-1] < 0.2 * losses[0]
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_an_input_of_another_grid_is_refused_with_both_shapes():
    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 8), 3)
    with pytest.raises(SpaceError, match=r"\(1, 2, 7, 8, 9\) arrives, expected \(batch, 2, 7, 9, 8\).*resample"):
        layer(torch.zeros(1, 2, 7, 8, 9))
    with pytest.raises(SpaceError, match=r"\(1, 1, 7, 9, 8\) arrives"):
        layer(torch.zeros(1, 1, 7, 9, 8))
    with pytest.raises(SpaceError, match=r"\(2, 7, 9, 8\) arrives"):
        layer(torch.zeros(2, 7, 9, 8))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims is 4, expected 1, 2 or 3"),
        ({"in_channels": 0}, "in_channels is 0, expected 1 whole number of at least 1"),
        ({"out_channels": 1.5}, "out_channels is 1.5"),
        ({"in_shape": (8, 8)}, r"in_shape is \(8, 8\), expected 3 whole numbers"),
        ({"in_shape": 8}, "in_shape is 8, expected 3 whole numbers of at least 1$"),
        ({"patch_shape": (2, 2)}, r"patch_shape is \(2, 2\)"),
        ({"patch_shape": "ab"}, "patch_shape is 'ab'"),
        ({"patch_shape": (4, 9, 4)}, r"the patch \(4, 9, 4\) is larger than the grid \(8, 8, 8\)"),
        ({"kernel_size": 5}, r"the kernel \(5, 5, 5\) is larger than the patch \(4, 4, 4\)"),
        ({"kernel_size": 0}, "kernel_size is 0"),
        ({"stride": 0}, "stride is 0, expected 3 whole numbers of at least 1 or one for all axes"),
        ({"padding": -1}, "padding is -1, expected 3 whole numbers of at least 0"),
        ({"padding": "valid"}, "padding is 'valid'"),
        ({"padding": "same", "stride": 2}, "padding 'same' goes with stride 1"),
        ({"overlap": "full"}, "unknown overlap 'full'; choose one of: None, half, reference"),
    ],
)
def test_numbers_that_make_no_layer_are_refused(changed, message):
    options = {"spatial_dims": 3, "in_channels": 2, "out_channels": 2, "in_shape": (8, 8, 8), "patch_shape": 4}
    with pytest.raises(InputError, match=message):
        PatchIndividualFilter(**{**options, **changed})


def exported(layer, x):
    return torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()


def saved_and_loaded(layer, x):
    file = io.BytesIO()
    torch.export.save(torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)), file)
    file.seek(0)
    return torch.export.load(file).module()


FORMS = {
    "TorchScript": lambda layer, x: torch.jit.script(layer),
    "traced": lambda layer, x: torch.jit.trace(layer, x),
    "torch.export": exported,
    "torch.export, saved and loaded": saved_and_loaded,
    "torch.fx": lambda layer, x: torch.fx.symbolic_trace(layer),
    "pickled": lambda layer, x: pickle.loads(pickle.dumps(layer)),
    "copied": lambda layer, x: copy.deepcopy(layer),
    "channels last": lambda layer, x: copy.deepcopy(layer).to(memory_format=torch.channels_last_3d),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
@pytest.mark.parametrize("reassemble", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_give_the_same_for_any_batch(form, reassemble):
    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 8), (3, 4, 4), reassemble=reassemble).eval()
    x = torch.randn(2, 2, 7, 9, 8)
    other = FORMS[form](layer, x)
    more = torch.randn(3, 2, 7, 9, 8)
    with torch.no_grad():
        torch.testing.assert_close(other(more), layer(more), rtol=1e-6, atol=1e-6)


def test_torchscript_survives_a_file_and_refuses_another_grid():
    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 8), (3, 4, 4), bias=False)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(layer), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    x = torch.randn(1, 2, 7, 9, 8)
    assert torch.equal(loaded(x), layer(x))
    with pytest.raises(torch.jit.Error, match="wrong channels or grid"):
        loaded(torch.randn(1, 2, 7, 8, 9))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("reassemble", sampled([True, False], 2))
def test_onnx_gives_the_same_for_any_batch(tmp_path, reassemble):
    import onnxruntime

    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 8), (3, 4, 4), reassemble=reassemble).eval()
    x, path = torch.randn(2, 2, 7, 9, 8), tmp_path / "pif.onnx"
    torch.onnx.export(layer, (x,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False)
    session = onnxruntime.InferenceSession(path)
    for scans in (x, torch.randn(5, 2, 7, 9, 8)):
        (got,) = session.run(None, {session.get_inputs()[0].name: scans.numpy()})
        np.testing.assert_allclose(got, layer(scans).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_reduced_precision():
    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 8), (3, 4, 4))
    x = torch.randn(2, 2, 7, 9, 8)
    wanted = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = layer(x)
    assert got.dtype == torch.bfloat16
    got.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(got.float(), wanted, rtol=0.05, atol=0.05)
    half = copy.deepcopy(layer).bfloat16()(x.bfloat16())
    torch.testing.assert_close(half.float(), wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("reassemble", [False, True])
def test_channels_last_input_gives_the_same_and_takes_gradients(reassemble):
    layer = PatchIndividualFilter(3, 2, 3, (7, 9, 8), (3, 4, 4), reassemble=reassemble)
    x = torch.randn(2, 2, 7, 9, 8)
    found = []
    for form in (torch.contiguous_format, torch.channels_last_3d):
        leaf = x.clone(memory_format=form).requires_grad_()
        y = layer(leaf)
        found.append((y, *torch.autograd.grad(y.square().sum(), (leaf, layer.weight, layer.bias))))
    for got, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_no_scans_give_no_outputs(axes):
    layer = PatchIndividualFilter(axes, 2, 3, (7, 9, 8)[:axes], 4)
    assert layer(torch.zeros(0, 2, *layer.in_shape)).shape == (0, *layer.output_shape)


def test_the_state_dict_holds_weight_and_bias_alone():
    layer = PatchIndividualFilter(3, 4, 2, (10, 13, 10), 5)
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        "weight": (14, 2, 4, 3, 3, 3),
        "bias": (14, 2),
    }
    assert list(PatchIndividualFilter(3, 4, 2, (10, 13, 10), 5, bias=False).state_dict()) == ["weight"]
    assert "patches=14" in repr(layer)
    assert "overlap='half'" in repr(layer)


def test_weights_are_drawn_as_those_of_a_convolution_of_one_patch():
    """The bound depends on what one filter sees, not on the number of patches."""
    torch.manual_seed(0)
    layer = PatchIndividualFilter(3, 4, 32, (12, 9, 8), 4)
    ordinary = nn.Conv3d(4, 32, 3)
    bound = (4 * 27) ** -0.5
    for patch in (*layer.weight.detach(), ordinary.weight.detach()):
        assert bound * 0.99 < patch.abs().max() <= bound
        assert patch.mean().item() == pytest.approx(0, abs=4 * bound / (3 * patch.numel()) ** 0.5)
        assert patch.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    for bias in (layer.bias, ordinary.bias):
        assert bound * 0.8 < bias.abs().max() <= bound
