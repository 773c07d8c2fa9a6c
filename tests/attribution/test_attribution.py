"""One contract for all attribution methods, and what each of them computes."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError, UnsupportedLayerError

METHODS = (
    "gradient_x_input", "guided_backprop", "integrated_gradients", "lrp_alpha_beta", "lrp_boehle2019", "lrp_epsilon",
    "lrp_z_plus", "lrp_zero", "saliency",
)  # fmt: skip
GRADIENTS = ("gradient_x_input", "guided_backprop", "integrated_gradients", "saliency")


def network(activation=nn.ReLU, classes=2):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), activation(), nn.MaxPool3d(2), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(3 * 3 * 3 * 4, 6), activation(), nn.Dropout(0.5), nn.Linear(6, classes),
    )  # fmt: skip
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    model[0].weight.requires_grad_(False)
    return model.eval()


def scans(batch=3, dtype=torch.float32):
    return torch.randn(batch, 1, 8, 9, 10, generator=torch.Generator().manual_seed(2)).to(dtype)


def state_of(model):
    hooks = [sum(len(v) for k, v in vars(m).items() if k.endswith("_hooks")) for m in model.modules()]
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    inplace = [getattr(m, "inplace", None) for m in model.modules()]
    return [m.training for m in model.modules()], hooks, flags, inplace, [sorted(vars(m)) for m in model.modules()]


def test_names():
    assert attribution.names() == METHODS


@pytest.mark.parametrize("name", METHODS)
def test_contract(name):
    model, x = network(lambda: nn.ReLU(inplace=True)), scans()
    tensors, state = {k: v.clone() for k, v in model.state_dict().items()}, state_of(model)
    method = attribution.create(name, model)
    assert isinstance(method, captum.attr.Attribution)
    first = method.attribute(x, target=torch.tensor([0, 1, 1]))
    assert first.shape == x.shape
    assert first.dtype == x.dtype
    assert first.device == x.device
    assert not first.requires_grad
    assert bool(first.isfinite().all())
    assert bool(first.any())
    assert torch.equal(method.attribute(x, target=[0, 1, 1]), first)
    assert torch.equal(x, scans())
    assert not x.requires_grad
    for index, target in enumerate((0, 1, 1)):
        alone = method.attribute(x[index : index + 1], target=target)
        torch.testing.assert_close(first[index : index + 1], alone, rtol=1e-3, atol=1e-5 * float(first.abs().max()))
    assert not torch.allclose(method.attribute(x, target=0), method.attribute(x, target=1))
    model.train()
    with pytest.warns(UserWarning, match="training mode"):
        trained = method.attribute(x, target=[0, 1, 1])
    assert torch.equal(trained, first)
    assert model.training
    model.eval()
    with torch.no_grad():
        assert torch.equal(method.attribute(x, target=[0, 1, 1]), first)
    with torch.inference_mode():
        inside = method.attribute(x, target=[0, 1, 1])
    assert torch.equal(inside, first)
    assert state_of(model) == state
    assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())
    assert "(" in attribution.describe(name)
    assert "\n" not in attribution.describe(name)


@pytest.mark.parametrize("name", METHODS)
def test_bad_input(name):
    method = attribution.create(name, network())
    for x, target, message in [
        (scans(), None, "the network has 2 outputs"),
        (scans(), 2, "target 2 does not exist; the network has 2 outputs"),
        (scans(), [0, 1], r"shape \(2,\)"),
        (scans()[..., 0], 1, "shape"),
        (scans()[:, :, :2], 1, "shape|grid"),
        (scans() / 0, 1, "NaN or infinite"),
        (scans().double(), 1, "float64"),
        (scans()[:0], 1, "non-empty"),
    ]:
        with pytest.raises(InputError, match=message):
            method.attribute(x, target=target)
    one = attribution.create(name, network(classes=1))
    assert torch.equal(one.attribute(scans()), one.attribute(scans(), target=0))
    with pytest.raises(InputError, match="target 1 does not exist"):
        one.attribute(scans(), target=1)


@pytest.mark.parametrize("name", METHODS)
def test_threads(name):
    method, x = attribution.create(name, network()), scans(2)
    wanted = [method.attribute(x, target=t) for t in (0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(3) as pool:
            for index, got in enumerate(pool.map(lambda i: method.attribute(x, target=i % 2), range(6))):
                assert torch.equal(got, wanted[index % 2])


def gradient(model, x, target):
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(model(x)[:, target].sum(), x)[0]


def test_what_the_gradient_methods_compute():
    model, x = network().double(), scans(dtype=torch.float64)
    plain = gradient(model, x, 1)
    torch.testing.assert_close(attribution.create("saliency", model).attribute(x, 1), plain.abs())
    torch.testing.assert_close(attribution.create("saliency", model, absolute=False).attribute(x, 1), plain)
    torch.testing.assert_close(attribution.create("gradient_x_input", model).attribute(x, 1), plain * x)
    integrated = attribution.create("integrated_gradients", model, steps=200, baseline=0.5).attribute(x, 1)
    drop = model(x)[:, 1] - model(torch.full_like(x, 0.5))[:, 1]
    torch.testing.assert_close(integrated.flatten(1).sum(1), drop.detach(), rtol=0.02, atol=0.01)


def test_guided_backprop_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2)).double().eval()
    x = torch.randn(4, 5, dtype=torch.float64)
    with torch.no_grad():
        a = model[0](x)
        b = model[2](a.relu())
        back = model[4].weight[1].expand(4, -1)
        back = back.clamp(min=0) * (b > 0) @ model[2].weight
        wanted = back.clamp(min=0) * (a > 0) @ model[0].weight
    got = attribution.create("guided_backprop", model).attribute(x, 1)
    torch.testing.assert_close(got, wanted)
    assert not torch.allclose(got, gradient(model, x, 1))
    torch.testing.assert_close(
        attribution.create("guided_backprop", model, absolute=True).attribute(x, 1), wanted.abs()
    )


class Functional(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.fc, self.call = nn.Linear(4, 2), call

    def forward(self, x):
        return self.fc(self.call(x).reshape(x.shape[0], -1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network(nn.ELU), r"layer '2' \(ELU\): guided_backprop knows torch.nn.ReLU layers"),
        (network(nn.LeakyReLU), "LeakyReLU"),
        (Functional(F.relu), "operation 'relu'"),
        (Functional(torch.relu), "operation 'relu'"),
        (Functional(lambda x: x.relu()), "operation 'relu'"),
        (Functional(lambda x: F.elu(x)), "operation 'elu'"),
        (Functional(lambda x: x * x.sigmoid()), "operation"),
        (nn.Sequential(nn.Sigmoid(), nn.Linear(4, 2)), "Sigmoid"),
    ],
)
def test_guided_backprop_refuses_other_activations(model, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        attribution.create("guided_backprop", model.eval())


def test_guided_backprop_takes_what_is_sound():
    attribution.create("guided_backprop", Functional(lambda x: x + x).eval()).attribute(torch.ones(1, 4), 1)
    attribution.create("guided_backprop", nn.Sequential(network(), nn.Softmax(1)).eval())


def test_options_reach_the_method():
    model, x = network(), scans()
    plain = attribution.create("lrp_alpha_beta", model).attribute(x, 1)
    assert torch.equal(plain, attribution.create("lrp_z_plus", model).attribute(x, 1))
    assert not torch.allclose(plain, attribution.create("lrp_alpha_beta", model, beta=1.0).attribute(x, 1))
    assert not torch.allclose(plain, attribution.create("lrp_boehle2019", model, beta=0.0).attribute(x, 1))
    zero = attribution.create("lrp_zero", model).attribute(x, 1)
    assert torch.equal(zero, attribution.create("lrp_epsilon", model).attribute(x, 1))
    assert not torch.allclose(zero, attribution.create("lrp_epsilon", model, epsilon=0.1).attribute(x, 1))


def test_unknown_names_options_and_values():
    with pytest.raises(InputError, match="unknown attribution method 'lrp'; choose one of: gradient_x_input"):
        attribution.create("lrp", network())
    with pytest.raises(InputError, match="unknown attribution method"):
        attribution.describe("lrp")
    with pytest.raises(InputError, match="'lrp_alpha_beta' has no option 'alpha'; its options are: beta"):
        attribution.create("lrp_alpha_beta", network(), alpha=2)
    with pytest.raises(InputError, match="'lrp_zero' has no option 'epsilon'; it has no options"):
        attribution.create("lrp_zero", network(), epsilon=2)
    with pytest.raises(InputError, match="beta is -1"):
        attribution.create("lrp_alpha_beta", network(), beta=-1)
    with pytest.raises(InputError, match="steps is 0"):
        attribution.create("integrated_gradients", network(), steps=0)
    for name in METHODS:
        with pytest.raises(InputError, match="model is a NoneType"):
            attribution.create(name, None)


def test_import_is_light():
    code = (
        "import sys, neuroxai.attribution as a; a.describe(a.names()[0]); print({'torch', 'captum'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
