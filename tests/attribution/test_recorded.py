"""What a network computes is recorded once for each shape of input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.attribution import base
from neuroxai.errors import InputError, UnsupportedLayerError

METHODS = {
    "guided_backprop": {}, "grad_cam": {}, "guided_grad_cam": {}, "deep_lift": {}, "occlusion": {"patch": 4},
    "region_occlusion": {"labels": torch.arange(512).reshape(8, 8, 8) // 128},
}  # fmt: skip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 216, 2)).eval()


def scans(batch=1, seed=1):
    return torch.rand(batch, 1, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def runs(monkeypatch):
    """Counts the records that are made."""
    made = []
    plain = base.record
    monkeypatch.setattr(base, "record", lambda *args: made.append(1) or plain(*args))
    return made


@pytest.mark.parametrize("name", METHODS)
def test_a_shape_is_recorded_once_and_weights_are_read_anew(name, runs):
    model = network()
    method = attribution.create(name, model, **METHODS[name])
    before = method.attribute(scans(), 1)
    assert len(runs) == 1
    other = method.attribute(scans(seed=2), 0)
    assert torch.equal(other, attribution.create(name, model, **METHODS[name]).attribute(scans(seed=2), 0))
    del runs[1:]
    with torch.no_grad():
        model[0].weight.mul_(-1.5)
    after = method.attribute(scans(), 1)
    assert len(runs) == 1
    assert not torch.allclose(before, after)
    assert torch.equal(after, attribution.create(name, model, **METHODS[name]).attribute(scans(), 1))
    model[3].weight = nn.Parameter(model[3].weight * 2)  # another parameter: another record
    del runs[:]
    method.attribute(scans(), 1)
    assert len(runs) == 1
    with pytest.raises(InputError, match="target 2 does not exist"):
        method.attribute(scans(), 2)


class Branching(nn.Module):
    """A scan decides what is computed."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return self.body(x) * (1 if x.mean() > 0 else -2)


@pytest.mark.parametrize("name", ["guided_backprop", "grad_cam", "deep_lift"])
def test_the_record_of_one_scan_serves_that_call_alone(name, runs):
    model, options = Branching().eval(), {"baselines": 0.1} if name == "deep_lift" else {}
    method = attribution.create(name, model, **options)
    for x in (scans(), scans(seed=2)):
        found = method.attribute(x, 1)
        torch.testing.assert_close(found, attribution.create(name, model.body, **options).attribute(x, 1))
    assert len(runs) == 4  # two of them of the body


@pytest.mark.parametrize("end", [nn.Identity(), nn.Softmax(1)])
def test_a_program_exported_for_a_batch_runs_in_such_batches(end):
    model = nn.Sequential(network(), end).eval()
    program = torch.export.export(model, (scans(3),)).module()
    for score in ("logit", "probability"):
        options = {"patch": 4, "score": score}
        found = attribution.create("occlusion", program, **options).attribute(scans(3, seed=2), 1)
        wanted = attribution.create("occlusion", model, **options).attribute(scans(3, seed=2), 1)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    for name in ("occlusion", "saliency", "grad_cam", "lrp_epsilon"):
        for batch in (1, 2):
            refusal = rf"a batch of {batch} for one of 3\); give as many scans, or export it with dynamic_shapes"
            with pytest.raises(InputError, match=refusal):
                attribution.create(name, program).attribute(scans(batch), 1)


def test_occlusion_runs_a_program_exported_for_one_scan_one_by_one():
    model = network()
    program = torch.export.export(model, (scans(),)).module()
    found, wanted = (attribution.create("occlusion", each, patch=4).attribute(scans(3), 1) for each in (program, model))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="a batch of 3 for one of 1"):
        attribution.create("deep_lift", program).attribute(scans(3), 1)


def test_a_batch_whose_scans_depend_on_each_other_is_refused():
    class Company(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, x):
            assert len(x) == 2, "two scans"
            return self.body(x - x.mean(0))

    with pytest.raises(UnsupportedLayerError, match="batches such as the 2 scans given alone, and the scores of one"):
        attribution.create("occlusion", Company().eval(), patch=4).attribute(scans(2), 1)


class Triple(torch.autograd.Function):
    """Twice the values, by a write that autograd does not see; its gradient says three times."""

    @staticmethod
    def forward(ctx, x):
        y = x.clone()
        y.data.mul_(2)
        return y

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient


class Unseen(nn.Module):
    """What autograd sees is not what is computed, in front of or behind the last convolution."""

    def __init__(self, behind):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.behind = nn.Conv3d(1, 3, 3), nn.Linear(3 * 216, 2), behind

    def forward(self, x):
        h = self.conv(x if self.behind else Triple.apply(x)).relu()
        return self.fc((Triple.apply(h) if self.behind else h).flatten(1))


@pytest.mark.parametrize("behind", [False, True])
def test_a_gradient_of_the_network_s_own_is_never_taken_for_that_of_its_calls(behind):
    model, x = Unseen(behind).double().eval(), scans().double()
    for name in ("guided_backprop", "guided_grad_cam"):
        with pytest.raises(UnsupportedLayerError, match=r"not that of what it computes.*use saliency"):
            attribution.create(name, model).attribute(x, 1)
    h, slopes = model.conv(x if behind else 2 * x), model.fc.weight[1].view(1, 3, 6, 6, 6)
    if behind:  # Grad-CAM takes the network's own gradient, which is known at layers
        slopes = slopes * (h > 0) * 3
    else:
        h = h.relu()
    wanted = (h * slopes.mean((2, 3, 4), keepdim=True)).sum(1, keepdim=True)
    coarse = attribution.create("grad_cam", model, relu=False).attribute(x, 1, return_coarse=True)[1]
    torch.testing.assert_close(coarse, wanted.detach())


class Scaled(Unseen):
    """Autograd does not see what it is divided by."""

    def forward(self, x):
        h = self.conv(x)
        with torch.no_grad():
            scale = h.abs().amax((1, 2, 3, 4), keepdim=True)
        return self.fc((h / scale).relu().flatten(1))


def test_what_the_network_takes_no_gradient_of_has_none():
    model, x = Scaled(True).double().eval(), scans(2).double()
    h = model.conv(x)
    scale = h.abs().amax((1, 2, 3, 4), keepdim=True)
    slopes = model.fc.weight[1].view(3, 6, 6, 6) * (h > 0) / scale
    wanted = (h * slopes.mean((2, 3, 4), keepdim=True)).sum(1, keepdim=True)
    coarse = attribution.create("grad_cam", model, relu=False).attribute(x, 1, return_coarse=True)[1]
    torch.testing.assert_close(coarse, wanted.detach())


def test_grad_cam_of_a_frozen_backbone_is_refused_by_the_line():
    class Frozen(Unseen):
        def forward(self, x):
            with torch.no_grad():
                h = self.conv(x).relu()
            return self.fc(h.flatten(1))

    model = Frozen(True).double().eval()
    with pytest.raises(UnsupportedLayerError, match=r"layer 'conv'.*test_recorded.py.*no gradient comes back"):
        attribution.create("grad_cam", model).attribute(scans().double(), 1)
    wanted = attribution.create("lrp_epsilon", nn.Sequential(model.conv, nn.ReLU(), nn.Flatten(), model.fc).eval())
    found = attribution.create("lrp_epsilon", model)
    for start in ("logit", "probability"):
        maps = (one.attribute(scans().double(), 1, start=start) for one in (found, wanted))
        torch.testing.assert_close(*maps)


class Remembering(nn.Module):
    """Each run changes what the next one puts out."""

    def __init__(self):
        super().__init__()
        self.body = network()
        self.register_buffer("runs", torch.ones(()))

    def forward(self, x):
        self.runs += 1
        return self.body(x) * self.runs


@pytest.mark.parametrize(("name", "options"), [
    ("occlusion", {"patch": 4, "recompute": "all"}), ("occlusion", {"patch": 4}), ("score_cam", {}),
    ("integrated_gradients", {"n_steps": 3}),
])  # fmt: skip
def test_what_one_pass_writes_into_buffers_does_not_reach_the_next(name, options):
    model, x = Remembering().eval(), scans(2)
    found, wanted = (attribution.create(name, each, **options).attribute(x, 1) for each in (model, model.body))
    if name != "score_cam":  # whose weights are a softmax of the scores
        torch.testing.assert_close(found, 2 * wanted, rtol=1e-5, atol=1e-6)
    again = attribution.create(name, model, **options).attribute(x[:1], 1)
    torch.testing.assert_close(found[:1], again, rtol=1e-5, atol=1e-6)
    assert model.runs == 1


def test_a_program_decomposed_into_aten_views_values_of_any_strides():
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(108, 2)).double().eval()
    x = scans(2).double()
    program = torch.export.export(model, (x,)).run_decompositions().module()
    found, wanted = (attribution.create("lrp_zero", each).attribute(x, 1) for each in (program, model))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)  # the bias is a sum with a stabiliser there


def test_deep_lift_of_a_program_decomposed_into_aten_is_that_of_the_network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2, 1, 1), nn.Conv3d(4, 3, 2),
        nn.AdaptiveMaxPool3d(2), nn.Flatten(), nn.Linear(24, 2),
    ).double().eval()  # fmt: skip
    x = scans(2).double()
    program = torch.export.export(model, (x,)).run_decompositions().module()
    found, wanted = (attribution.create("deep_lift", each, baselines=0.5).attribute(x, 1) for each in (program, model))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    due = (model(x) - model(torch.full_like(x, 0.5)))[:, 1].detach()
    torch.testing.assert_close(found.flatten(1).sum(1), due, rtol=1e-10, atol=1e-12)


def test_deep_lift_takes_maxima_that_come_with_their_places():
    class WithPlaces(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.fc = nn.MaxPool3d(2, return_indices=True), nn.Linear(64, 2)

        def forward(self, x):
            return self.fc(self.pool(x)[0].flatten(1)).add(x.flatten(2).max(2)[0])

    model, x = WithPlaces().double().eval(), scans(2).double()
    found = attribution.create("deep_lift", model).attribute(x, 1)
    due = (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    torch.testing.assert_close(found.flatten(1).sum(1), due, rtol=1e-10, atol=1e-12)


NEED_NONE = {"occlusion", "region_occlusion", "region_shapley", "region_lime", "region_swap"}


@pytest.mark.filterwarnings("ignore:.*(deprecated|quant)")
@pytest.mark.parametrize("name", sorted({*attribution.names()} - NEED_NONE - {"score_cam"}))
def test_a_quantised_network_is_refused_by_its_layer(name):
    dynamic = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(UnsupportedLayerError, match=r"layer '3' \(Linear\) computes in integers.*before it was quant"):
        attribution.create(name, dynamic).attribute(scans(), 1)


@pytest.mark.filterwarnings("ignore:.*(deprecated|quant)")
def test_a_quantised_network_can_be_occluded_and_masked():
    dynamic = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear}, dtype=torch.qint8)
    for name, options in (("occlusion", {"patch": 4}), ("region_occlusion", METHODS["region_occlusion"])):
        got, wanted = (
            attribution.create(name, model, **options).attribute(scans(), 1) for model in (dynamic, network())
        )
        torch.testing.assert_close(got, wanted, rtol=0, atol=0.1 * float(wanted.abs().max()))
    assert bool(attribution.create("score_cam", dynamic).attribute(scans(), 1).any())


@pytest.mark.filterwarnings("ignore:.*(deprecated|quant|autograd kernel)")
@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "grad_cam", "hires_cam"])
def test_a_call_without_a_backward_pass_is_refused(name):
    class Packed(nn.Module):  # weights packed by hand, in no layer of torch's
        def __init__(self, linear):
            super().__init__()
            weight = torch.quantize_per_tensor(linear.weight.detach(), 0.01, 0, torch.qint8)
            self.packed = torch.ops.quantized.linear_prepack(weight, linear.bias.detach())

        def forward(self, x):
            return torch.ops.quantized.linear_dynamic(x, self.packed)

    body = network()
    with pytest.raises(UnsupportedLayerError, match=r"no backward pass.*use occlusion"):
        attribution.create(name, nn.Sequential(*body[:3], Packed(body[3])).eval()).attribute(scans(), 1)
