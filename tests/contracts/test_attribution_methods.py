"""One contract for all attribution methods, on networks of one, two and three axes."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import captum.attr
import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.lrp.conservation import ConservationWarning

METHODS = attribution.names()
RELEVANCE = tuple(name for name in METHODS if name.startswith("lrp_") or name == "deep_taylor")
CAMS = tuple(name for name in METHODS if "cam" in name)
TRACED = (*RELEVANCE, *CAMS, "guided_backprop", "deep_lift")
RECTIFIED = tuple(name for name in CAMS if name != "hires_cam")  # zero where nothing speaks for the class
OPTIONS = {
    "smooth_grad": {"nt_samples": 4},
    "smooth_grad_squared": {"nt_samples": 4},
    "var_grad": {"nt_samples": 4},
    "gradient_shap": {"n_samples": 8},
    "region_lime": {"n_samples": 12},
    "occlusion": {"patch": 4},
    "integrated_gradients": {"n_steps": 8},
    "region_swap": {"baselines": 0.0},
    "lrp_boehle2019": {"beta": 0.5},  # with beta 0, a score whose contributions are all negative passes nothing on
    "lrp_alpha_beta": {"beta": 0.5},
}
GRIDS = {1: (30,), 2: (9, 10), 3: (8, 9, 10)}


def create(name, model):
    options = dict(OPTIONS.get(name, {}))
    if attribution.takes_regions(name):
        grid = GRIDS[3 if model is None else next(model.parameters()).ndim - 2]
        options["labels"] = (torch.arange(math.prod(grid)) % 5).reshape(grid)
    return attribution.create(name, model, **options)


def network(axes=3, activation=nn.ReLU, classes=2, pool=2):
    torch.manual_seed(3)
    conv, norm, pooling = (getattr(nn, f"{kind}{axes}d") for kind in ("Conv", "BatchNorm", "MaxPool"))
    body = [
        conv(1, 4, 3), norm(4), activation(), pooling(pool, 2), conv(4, 6, 2), activation(), nn.Flatten(),
    ]  # fmt: skip
    width = nn.Sequential(*body).eval()(torch.zeros(1, 1, *GRIDS[axes])).shape[1]
    model = nn.Sequential(*body, nn.Dropout(0.5), nn.Linear(width, 16), activation(), nn.Linear(16, classes))
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    model[0].weight.requires_grad_(False)
    return model.eval()


NETWORKS = {
    "3d": lambda: network(activation=lambda: nn.ReLU(inplace=True)),
    "3d elu, overlapping pools": lambda: network(activation=nn.ELU, pool=3),
    "2d": lambda: network(axes=2),
    "1d": lambda: network(axes=1),
}


def scans(batch=3, dtype=torch.float32, axes=3):
    return torch.randn(batch, 1, *GRIDS[axes], generator=torch.Generator().manual_seed(2)).to(dtype)


def axes_of(which):
    return int(which[0])


def state_of(model):
    hooks = [sum(len(v) for k, v in vars(m).items() if k.endswith("_hooks")) for m in model.modules()]
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    inplace = [getattr(m, "inplace", None) for m in model.modules()]
    return [m.training for m in model.modules()], hooks, flags, inplace, [sorted(vars(m)) for m in model.modules()]


def close(got, wanted):
    limit = 1e-5 if got.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(got, wanted, rtol=100 * limit, atol=limit * float(wanted.abs().max()))


@pytest.mark.parametrize("which", NETWORKS)
@pytest.mark.parametrize("name", METHODS)
def test_maps(name, which):
    model, x = NETWORKS[which](), scans(axes=axes_of(which))
    tensors, state = {k: v.clone() for k, v in model.state_dict().items()}, state_of(model)
    method = create(name, model)
    assert isinstance(method, captum.attr.Attribution)
    random = torch.get_rng_state()
    first = method.attribute(x, target=torch.tensor([0, 1, 1]))
    assert (first.shape, first.dtype, first.device) == (x.shape, x.dtype, x.device)
    assert not first.requires_grad
    assert bool(first.isfinite().all())
    shown = first.flatten(1).any(dim=1)
    assert bool(shown.any() if name in RECTIFIED else shown.all())
    assert torch.equal(method.attribute(x, target=[0, 1, 1]), first)
    for index, target in enumerate((0, 1, 1)):
        close(first[index : index + 1], method.attribute(x[index : index + 1], target=target))
    assert not torch.allclose(method.attribute(x, target=0), method.attribute(x, target=1))
    torch.testing.assert_close(method.attribute(x, target=1)[1:], first[1:])
    with torch.no_grad():
        assert torch.equal(method.attribute(x, target=[0, 1, 1]), first)
    with torch.inference_mode():
        inside = method.attribute(x.clone(), target=[0, 1, 1])
    assert torch.equal(inside, first)
    model.train()
    with pytest.warns(UserWarning, match="training mode"):
        trained = method.attribute(x, target=[0, 1, 1])
    assert torch.equal(trained, first)
    assert model.training
    model.eval()
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, scans(axes=axes_of(which)))
    assert not x.requires_grad
    assert state_of(model) == state
    assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_float64_agrees_with_float32(name):
    model, x = network(), scans()
    single = create(name, model).attribute(x, target=1)
    double = create(name, network().double()).attribute(x.double(), target=1)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-4 * float(single.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_half_is_explained_in_float32_or_refused(name, dtype):
    model, x = network().to(dtype), scans(dtype=dtype)
    if name not in RELEVANCE:
        with pytest.raises(InputError, match="float32 or float64 is expected"):
            create(name, model).attribute(x, target=1)
        return
    found = create(name, model).attribute(x, target=1)
    assert found.dtype == torch.float32
    close(found, create(name, model.float()).attribute(x.float(), target=1))


@pytest.mark.parametrize("name", METHODS)
def test_bad_input(name):
    method = create(name, network())
    for x, target, message in [
        (scans(), None, "the network has 2 outputs"),
        (scans(), 2, "target 2 does not exist; the network has 2 outputs"),
        (scans(), -1, "target -1 does not exist; the network has 2 outputs"),
        (scans(), 0.5, "target is 0.5"),
        (scans(), True, "target is True"),
        (scans(), [0, 1], r"shape \(2,\)"),
        (scans(), [0, 1, 7], "target 7 does not exist"),
        (scans()[..., 0], 1, "shape"),
        (scans()[:, :, :2], 1, "shape|grid"),
        (scans().expand(3, 2, 8, 9, 10), 1, "shape|channels"),
        (scans() / 0, 1, "NaN or infinite"),
        (scans().double(), 1, "float64"),
        (scans().int(), 1, "int32"),
        (scans()[:0], 1, "non-empty"),
        (scans().numpy(), 1, "ndarray"),
    ]:
        with pytest.raises(InputError, match=message):
            method.attribute(x, target=target)
    one = create(name, network(classes=1))
    assert torch.equal(one.attribute(scans()), one.attribute(scans(), target=0))
    with pytest.raises(InputError, match="target 1 does not exist"):
        one.attribute(scans(), target=1)
    with pytest.raises(InputError, match="model is a NoneType"):
        create(name, None)
    with pytest.raises(InputError, match=f"method '{name}' has no option 'colour'"):
        attribution.create(name, network(), colour="red")


class Odd(nn.Module):
    """A layer without parameters that no table knows."""

    def forward(self, x):
        return x * torch.cos(x)


@pytest.mark.parametrize("name", METHODS)
def test_layers_without_a_rule_are_named_or_need_none(name):
    model = nn.Sequential(network()[:3], Odd(), network()[3:]).eval()
    if name in TRACED:
        with pytest.raises(UnsupportedLayerError, match=r"operation 'cos' \(node 'cos'\) in module '1' \(Odd\)"):
            create(name, model).attribute(scans(), target=1)
    else:
        assert bool(create(name, model).attribute(scans(), target=1).any())


@pytest.mark.parametrize("name", METHODS)
def test_threads(name):
    method, x = create(name, network()), scans(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="the attributions of sample")  # of few steps
        warnings.simplefilter("ignore", ConservationWarning)  # of weights drawn at random
        wanted = [method.attribute(x, target=t) for t in (0, 1)]
        random = torch.get_rng_state()
        with ThreadPoolExecutor(3) as pool:
            for index, got in enumerate(pool.map(lambda i: method.attribute(x, target=i % 2), range(6))):
                assert torch.equal(got, wanted[index % 2])
        assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", METHODS)
def test_new_weights_are_seen(name):
    model, x = network(), scans(1)
    method = create(name, model)
    first = method.attribute(x, target=1)
    other = network(activation=nn.ReLU)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    model.load_state_dict(other.state_dict())
    second = method.attribute(x, target=1)
    assert not torch.allclose(first, second)
    close(second, create(name, other).attribute(x, target=1))


@pytest.mark.parametrize("name", METHODS)
def test_description(name):
    line = attribution.describe(name)
    assert "\n" not in line
    assert any(str(year) in line for year in range(2009, 2027)), line


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", METHODS)
def test_gpu_agrees_with_cpu(name):
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        x = scans(dtype=torch.float64)
        there = create(name, network().double().cuda()).attribute(x.cuda(), target=[0, 1, 1])
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), create(name, network().double()).attribute(x, target=[0, 1, 1]))
