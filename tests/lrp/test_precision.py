"""Models in half precision are explained in single precision, in every gradient and autocast mode."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.checks import check_scores
from neuroxai.lrp import LRP, composites
from neuroxai.lrp.conservation import ConservationWarning


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(inplace=True), nn.MaxPool3d(2), nn.Flatten(),
        nn.Linear(3 * 2 * 2 * 3, 6), nn.ELU(), nn.Linear(6, 2),
    )  # fmt: skip
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.3, 2)
    return model.eval()


def scans(batch=2):
    return torch.randn(batch, 1, 6, 7, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("preset", [composites.epsilon(), composites.alpha_beta(1.0), composites.boehle2019(0.5)])
def test_half_models_are_explained_in_single_precision(dtype, preset):
    model, x = network().to(dtype), scans().to(dtype)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    lrp = LRP(model, preset)
    got, layers = lrp.attribute(x, 1, return_layers=True, start="logit")
    assert got.dtype == torch.float32
    assert all(v.dtype == torch.float32 for v in layers.values())
    single = LRP(copy.deepcopy(model).float(), preset)  # the same rounded weights
    assert torch.equal(got, single.attribute(x.float(), 1, return_layers=True, start="logit")[0])
    assert torch.equal(lrp.attribute(x, 1, start="logit"), single.attribute(x.float(), 1, start="logit"))
    assert torch.equal(
        lrp.attribute(x, [0, 1], start="probability"), single.attribute(x.float(), [0, 1], start="probability")
    )
    assert torch.equal(lrp.attribute(x, layer="0", neuron=1), single.attribute(x.float(), layer="0", neuron=1))
    assert torch.equal(
        lrp.attribute(x, 1, conditions={"3": 2}, start="logit"),
        single.attribute(x.float(), 1, conditions={"3": 2}, start="logit"),
    )
    assert torch.equal(
        lrp.rank(x, 1, layer="3", start="logit").channels, single.rank(x.float(), 1, layer="3", start="logit").channels
    )
    assert torch.equal(lrp.report(x, 1, start="logit").input, single.report(x.float(), 1, start="logit").input)
    for key, value in model.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key]), key
    assert all(p.dtype == dtype and p.requires_grad and p.grad is None for p in model.parameters())
    assert x.dtype == dtype


def test_small_values_survive():
    model = nn.Linear(2, 1, bias=False).half().eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e-4, 1.0]]))
    got = LRP(model, composites.epsilon()).attribute(torch.tensor([[1e-4, 1.0]], dtype=torch.float16), start="logit")
    assert float(got[0, 0]) == pytest.approx(1e-8, rel=0.01)  # float16 would round it to zero
    assert float(got[0, 0].half()) == 0


def test_a_half_model_follows_its_weights_and_can_become_single():
    model, x = network().half(), scans().half()
    lrp = LRP(model, composites.epsilon())
    first = lrp.attribute(x, 1, start="logit")
    model.load_state_dict(network(5).half().state_dict())
    assert not torch.equal(lrp.attribute(x, 1, start="logit"), first)
    assert torch.equal(
        lrp.attribute(x, 1, start="logit"), LRP(network(5).half(), composites.epsilon()).attribute(x, 1, start="logit")
    )
    model.float()
    assert torch.equal(
        lrp.attribute(x.float(), 1, start="logit"),
        LRP(model, composites.epsilon()).attribute(x.float(), 1, start="logit"),
    )


def test_parametrised_and_tied_weights():
    tied = nn.Linear(4, 4)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), tied, nn.ReLU(), tied)
    model, x = model.half().eval(), torch.randn(2, 4).half()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConservationWarning)
        got = LRP(model, composites.epsilon()).attribute(x, 1, start="logit")
    assert torch.equal(
        got, LRP(copy.deepcopy(model).float(), composites.epsilon()).attribute(x.float(), 1, start="logit")
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("model_dtype", [torch.float32, torch.float64, torch.float16])
def test_mixed_precision_is_refused(dtype, model_dtype):
    if dtype == model_dtype:
        dtype = torch.float32
    with pytest.raises(InputError, match=f"inputs are {dtype} on cpu, but parameter '0.weight' is {model_dtype}"):
        LRP(network().to(model_dtype), composites.epsilon()).attribute(scans().to(dtype), 1, start="logit")


def test_values_that_half_cannot_hold_are_refused():
    x = scans().half()
    x[0, 0, 0, 0, 0] = 1e6  # infinite in float16
    with pytest.raises(InputError, match="1 values that are NaN or infinite"):
        LRP(network().half(), composites.epsilon()).attribute(x, 1, start="logit")


def test_gradient_methods_still_refuse_half():
    with pytest.raises(InputError, match="float32 or float64 is expected"):
        attribution.create("saliency", network().half()).attribute(scans().half(), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradient_modes_and_autocast(dtype):
    model, x = network().to(dtype), scans().to(dtype)
    wanted = LRP(model, composites.alpha_beta(1.0)).attribute(x, 1, start="logit")
    some = LRP(model, composites.alpha_beta(1.0)).attribute(x, 1, conditions={"3": 2}, start="logit")
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        lrp = LRP(model, composites.alpha_beta(1.0))
        with mode:
            got = lrp.attribute(x, 1, start="logit")
            assert torch.equal(got, wanted)
            assert torch.equal(lrp.attribute(x, 1, conditions={"3": 2}, start="logit"), some)
            lrp.report(x, 1, start="logit")
            lrp.rank(x, 1, layer="3", start="logit")
        assert torch.equal(lrp.attribute(x, 1, start="logit"), wanted)
    with torch.inference_mode():
        inside = scans().to(dtype)  # an inference tensor, explained outside the mode
    got = LRP(model, composites.alpha_beta(1.0)).attribute(inside, 1, start="logit")
    assert torch.equal(got, wanted)
    assert not got.requires_grad


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_network_that_cannot_decide_is_explained(outputs):
    """Its scores are all near 0, where rounding is large beside them."""
    model, x = network(), scans(1)
    model[-1] = nn.Linear(6, outputs)
    with torch.no_grad():
        model[-1].weight.mul_(1000)
        model[-1].bias -= model(x)[0]
        model[-1].bias += 2e-5 * torch.arange(1, outputs + 1)
    exact = LRP(copy.deepcopy(model).double(), "zero").attribute(x.double(), 0, start="logit")
    score = float(model.double()(x.double()).detach()[0, 0])
    got = LRP(model.float(), "zero").attribute(x, 0, start="logit")
    # compared as shares: what each voxel contributes over the score, whose rounding they have in common
    assert (got / got.sum() - (exact / exact.sum()).float()).abs().max() < 1e-2 * (exact / exact.sum()).abs().max()
    assert abs(score) < 1e-4


def test_what_a_record_misses_is_refused_however_small_the_scores_are():
    near, away = torch.tensor([[1e-6]]), torch.tensor([[5.0]])
    check_scores(near + 3e-7, near, lambda: away)
    with pytest.raises(UnsupportedLayerError):
        check_scores(near + 1e-2, near, lambda: away)
    with pytest.raises(UnsupportedLayerError):
        check_scores(near + 3e-7, near)
