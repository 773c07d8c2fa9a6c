"""Grad-CAM: the formula, the layer, the place."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError, UnsupportedLayerError


class Net(nn.Module):
    """Named layers on one to three axes; a last convolution that leaves a single cell."""

    def __init__(self, axes=3):
        super().__init__()
        torch.manual_seed(1)
        conv, norm, pool = (getattr(nn, f"{kind}{axes}d") for kind in ("Conv", "BatchNorm", "MaxPool"))
        self.conv1, self.act1, self.pool1 = conv(2, 3, 3, padding=1), nn.ReLU(inplace=True), pool(2)
        self.conv2, self.norm2, self.act2 = conv(3, 4, 3, padding=1), norm(4), nn.ReLU(inplace=True)
        self.pool2, self.conv3, self.fc = pool(2), conv(4, 6, 2, padding=0), nn.Linear(6, 2)
        self.norm2.running_mean.normal_(std=0.1)
        self.norm2.running_var.fill_(0.05)

    def forward(self, x):
        x = self.pool1(self.act1(self.conv1(x)))
        x = self.pool2(self.act2(self.norm2(self.conv2(x))))
        return self.fc(self.conv3(x).flatten(1))


SHAPE = (8, 10, 11)


def net(axes=3):
    return Net(axes).double().eval()


def scans(axes=3):
    return torch.randn(2, 2, *SHAPE[:axes], generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_hand(model, x, target, name, relu=True):
    """Selvaraju 2017, equations 1 and 2."""
    model, kept = copy.deepcopy(model), {}
    model.act1.inplace = model.act2.inplace = False
    model.get_submodule(name).register_forward_hook(lambda module, inputs, out: kept.update(out=out))
    score = model(x)[:, target].sum()
    (gradient,) = torch.autograd.grad(score, kept["out"])
    axes = tuple(range(2, x.ndim))
    cam = (gradient.mean(axes, keepdim=True) * kept["out"]).sum(1, keepdim=True).detach()
    return cam.relu() if relu else cam


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("relu", [True, False])
def test_coarse_map_by_hand(axes, relu):
    class Two(Net):
        def forward(self, x):
            x = self.pool1(self.act1(self.conv1(x)))
            return self.fc(torch.cat([f := self.act2(self.norm2(self.conv2(x))).flatten(2).mean(2), f[:, :2]], 1))

    torch.manual_seed(1)
    model, x = Two(axes).double().eval(), scans(axes)
    fine, coarse = attribution.create("grad_cam", model, relu=relu).attribute(x, 1, return_coarse=True)
    torch.testing.assert_close(coarse, by_hand(model, x, 1, "act2", relu))
    assert coarse.shape == (2, 1, *(n // 2 for n in SHAPE[:axes]))
    assert fine.shape == x.shape
    assert torch.equal(fine[:, 0], fine[:, 1])
    assert bool((coarse < 0).any()) != relu
    assert torch.equal(fine, attribution.create("grad_cam", model, relu=relu).attribute(x, 1))


@pytest.mark.parametrize("layer", ["conv1", "act1", "pool1", "conv2", "norm2", "act2", "pool2"])
def test_layer_by_name(layer):
    model, x = Net().double().eval(), torch.randn(2, 2, 8, 8, 8, dtype=torch.float64)
    found = attribution.create("grad_cam", model, layer=layer, relu=False).attribute(x, 0, return_coarse=True)[1]
    torch.testing.assert_close(found, by_hand(model, x, 0, layer, relu=False))


def default_layer(model, x):
    """The layer found, told by the coarse map that it makes."""
    coarse = attribution.create("grad_cam", model, relu=False).attribute(x, 0, return_coarse=True)[1]
    fits = []
    for name, _ in model.named_modules():
        try:
            other = attribution.create("grad_cam", model, layer=name, relu=False).attribute(x, 0, return_coarse=True)[1]
        except InputError:
            continue
        if other.shape == coarse.shape and torch.allclose(other, coarse):
            fits.append(name)
    return fits


def test_default_is_the_last_layer_with_the_grid_of_the_last_convolution_that_has_one():
    x = torch.randn(1, 2, 8, 8, 8, dtype=torch.float64)
    assert default_layer(Net().double().eval(), x) == ["act2"]  # conv3 has one cell left


class Functions(nn.Module):
    """The same network with its activation and residual sum as layers, or as functions."""

    def __init__(self, functions):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2, self.norm = nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 3, padding=1), nn.BatchNorm3d(4)
        self.act = F.relu if functions else nn.ReLU()
        self.out = (lambda x: x) if functions else nn.Identity()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.act(self.conv1(x))
        return self.fc(self.out(F.relu(self.norm(self.conv2(x)) + x)).mean((2, 3, 4)))


def test_an_activation_that_runs_twice_counts():
    model, x = Shared().eval(), torch.randn(1, 1, 10)
    found = attribution.create("grad_cam", model, relu=False).attribute(x, 1, return_coarse=True)[1]
    features = model.act(model.act(model.conv(x)) - 0.1).detach()
    weights = model.fc.weight[1].view(4, 8).mean(1, keepdim=True)  # the activation is the last call before the layer
    torch.testing.assert_close(found, (features * weights).sum(1, keepdim=True).detach())


def test_an_activation_counts_whether_it_is_a_layer_or_a_function():
    x = torch.randn(2, 1, 6, 7, 5, dtype=torch.float64)
    maps = []
    for functions in (True, False):
        model = Functions(functions).double().eval()
        maps.append(attribution.create("grad_cam", model, relu=False).attribute(x, 1, return_coarse=True)[1])
    torch.testing.assert_close(*maps)
    features = F.relu(model.norm(model.conv2(y := F.relu(model.conv1(x)))) + y)
    wanted = (features * model.fc.weight[1][:, None, None, None]).sum(1, keepdim=True) / features[0, 0].numel()
    torch.testing.assert_close(maps[0], wanted.detach())


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam"])
def test_a_convolution_that_scores_places_is_a_head_like_a_linear_layer(method):
    torch.manual_seed(0)
    features = [nn.Conv3d(1, 4, 3), nn.ReLU()]
    linear = nn.Sequential(*features, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).double().eval()
    head = nn.Conv3d(4, 2, 1).double()
    with torch.no_grad():
        linear[4].bias.sub_(3.0)  # no place has a score above 0
        head.weight.copy_(linear[4].weight[..., None, None, None])
        head.bias.copy_(linear[4].bias)
    placed = nn.Sequential(*features, head, nn.AdaptiveAvgPool3d(1), nn.Flatten()).double().eval()
    x = torch.randn(2, 1, 6, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(placed(x), linear(x))
    for target in (0, 1):
        wanted = attribution.create(method, linear).attribute(x, target)
        torch.testing.assert_close(attribution.create(method, placed).attribute(x, target), wanted)
    assert bool(wanted.any())


@pytest.mark.parametrize(
    "pool",
    [lambda z: z.amax((2, 3, 4)), lambda z: z.logsumexp((2, 3, 4)), lambda z: z.flatten(2).topk(9, 2)[0].mean(2)],
)
def test_a_head_may_take_the_largest_scores_of_places(pool):
    class Placed(nn.Sequential):
        def forward(self, x):
            return pool(super().forward(x))

    torch.manual_seed(0)
    model = Placed(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 1)).double().eval()
    x = torch.randn(2, 1, 6, 7, 5, dtype=torch.float64)
    wanted = attribution.create("hires_cam", model, layer="1").attribute(x, 1)
    torch.testing.assert_close(attribution.create("hires_cam", model).attribute(x, 1), wanted)
    assert bool(wanted.any())


class Gated(nn.Module):
    """Features under a gate that convolutions make, as in CBAM, attention gates and concurrent excitation."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.conv2 = nn.Conv3d(2, 3, 3), nn.Conv3d(3, 4, 3, padding=1)
        self.gate, self.wide = nn.Conv3d(2, 1, 3, padding=1), nn.Conv3d(4, 1, 1)
        self.squeeze, self.fc, self.kind = nn.Linear(4, 4), nn.Linear(4, 2), kind

    def features(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        if self.kind == "cbam":
            return h * torch.sigmoid(self.gate(torch.cat([h.mean(1, keepdim=True), h.amax(1, keepdim=True)], 1)))
        if self.kind == "attention gate":  # of a coarser grid, as in an attention U-Net
            coarse = F.interpolate(F.avg_pool3d(self.wide(h), 2), h.shape[2:], mode="trilinear")
            return h * torch.sigmoid(F.relu(self.wide(h) + coarse)).expand_as(h)
        if self.kind == "softmax":
            return h * self.wide(h).flatten(2).softmax(2).reshape(len(h), 1, *h.shape[2:])
        squeezed = self.squeeze(h.mean((2, 3, 4))).sigmoid()[:, :, None, None, None]
        return h * squeezed if self.kind == "squeeze" else torch.maximum(h * squeezed, h * self.wide(h).sigmoid())

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3, 4)))


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam", "grad_cam_plus_plus", "score_cam"])
@pytest.mark.parametrize("kind", ["cbam", "attention gate", "softmax", "squeeze"])
def test_features_under_a_gate_are_explained_and_not_the_gate(kind, method):
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.here = Gated(kind), nn.Identity()

        def forward(self, x):
            return self.model.fc(self.here(self.model.features(x)).mean((2, 3, 4)))

    model, split, x = Gated(kind).double().eval(), Split().double().eval(), scans()
    found, wanted = (
        attribution.create(method, net, **given).attribute(x, 1, return_coarse=True)
        for net, given in ((model, {}), (split, {"layer": "here"}))
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert bool(found[1].any())


def test_a_convolution_that_is_no_layer_counts_where_others_are():
    class Blurred(nn.Module):
        def __init__(self, end=None):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.end, self.fc = nn.Conv3d(2, 4, 3), end, nn.Linear(4, 2)
            self.register_buffer("blur", torch.full((4, 1, 2, 2, 2), 0.125))

        def forward(self, x):
            h = F.conv3d(F.relu(self.conv(x)), self.blur, stride=2, groups=4)
            return self.fc((h if self.end is None else self.end(h)).mean((2, 3, 4)))

    x = scans()
    found = attribution.create("grad_cam", Blurred().double().eval()).attribute(x, 1)
    named = attribution.create("grad_cam", Blurred(nn.Identity()).double().eval(), layer="end").attribute(x, 1)
    torch.testing.assert_close(found, named)
    assert bool(found.any())


BY_HAND = {
    "swish": lambda h, _: h * torch.sigmoid(1.5 * h),
    "mish": lambda h, _: h * torch.tanh(F.softplus(h)),
    "beside": lambda h, skip: torch.cat([h, skip], 1),
}


@pytest.mark.parametrize("way", BY_HAND)
def test_features_count_whole(way):
    """An activation that a product writes out is no layer of its own, and maps side by side are read together."""

    class Network(Gated):
        def __init__(self):
            super().__init__("")
            self.fc = nn.Linear(7 if way == "beside" else 4, 2)

        def features(self, x):
            skip = F.relu(self.conv1(x))
            return BY_HAND[way](self.conv2(skip), skip)

    model, x = Network().double().eval(), scans()
    gradient = model.fc.weight[1].detach().view(1, -1, 1, 1, 1)
    features = model.features(x).detach()
    _, coarse = attribution.create("hires_cam", model).attribute(x, 1, return_coarse=True)
    wanted = (features * gradient / features[0, 0].numel()).sum(1, keepdim=True)
    torch.testing.assert_close(coarse, wanted)


def test_default_layer_of_a_residual_network():
    from monai.networks.nets import ResNet

    torch.manual_seed(0)
    model = ResNet("basic", [1, 1, 1, 1], [2, 2, 4, 4], n_input_channels=1, num_classes=2, conv1_t_size=3).eval()
    x = torch.randn(1, 1, 40, 40, 40)
    found = attribution.create("grad_cam", model, relu=False).attribute(x, 0)
    assert torch.equal(found, attribution.create("grad_cam", model, relu=False, layer="layer4").attribute(x, 0))


def test_an_inplace_activation_does_not_overwrite_the_layer_in_front_of_it():
    model, x = Net().double().eval(), torch.randn(2, 2, 8, 8, 8, dtype=torch.float64)
    found = attribution.create("grad_cam", model, layer="norm2", relu=False).attribute(x, 0)
    assert not torch.allclose(found, attribution.create("grad_cam", model, layer="act2", relu=False).attribute(x, 0))


def test_wrapped_models_name_layers_as_their_own():
    model, x = Net().double().eval(), torch.randn(2, 2, 8, 8, 8, dtype=torch.float64)
    expected = attribution.create("grad_cam", model, layer="act2").attribute(x, 1)
    part = Net().double().eval()
    part.act2 = nn.DataParallel(part.act2)
    for wrapped in (nn.DataParallel(model), part):
        assert torch.equal(attribution.create("grad_cam", wrapped, layer="act2").attribute(x, 1), expected)
        assert torch.equal(attribution.create("grad_cam", wrapped).attribute(x, 1), expected)


def test_a_map_of_which_nothing_is_left_is_told():
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        model[4].weight[0], model[4].weight[1] = -1.0, 1.0
    x = torch.rand(2, 1, 6, 7, 5)
    with pytest.warns(UserWarning, match=r"layer '1' speaks against the class in every cell.*relu=False") as told:
        assert not attribution.create("grad_cam", model.eval()).attribute(x, 0).any()
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attribution.create("grad_cam", model).attribute(x, 1).any()
        assert attribution.create("grad_cam", model, relu=False).attribute(x, 0).any()


def test_guided_is_the_product():
    model, x = Net().double().eval(), torch.randn(2, 2, 8, 8, 8, dtype=torch.float64)
    wanted = attribution.create("guided_backprop", model).attribute(x, 1)
    wanted = wanted * attribution.create("grad_cam", model, layer="act1").attribute(x, 1)
    assert torch.equal(attribution.create("guided_grad_cam", model, layer="act1").attribute(x, 1), wanted)


class Shared(nn.Module):
    """One activation, run twice behind a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.fc = nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Linear(32, 2)

    def forward(self, x):
        return self.fc(self.act(self.act(self.conv(x)) - 0.1).flatten(1))


def test_layers_that_do_not_fit():
    x = torch.randn(1, 2, 8, 8, 8)
    for layer, message in [("fc", r"layer 'fc' puts out \(1, 2\)"), ("conv9", "unknown layer 'conv9'")]:
        with pytest.raises(InputError, match=message):
            attribution.create("grad_cam", Net().eval(), layer=layer).attribute(x, 1)
    with pytest.raises(InputError, match="layer 'act' runs 2 times"):
        attribution.create("grad_cam", Shared().eval(), layer="act").attribute(torch.randn(1, 1, 10), 1)
    flat = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    with pytest.raises(InputError, match=r"no convolution of Sequential has a grid .* \(1, 4\)"):
        attribution.create("grad_cam", flat).attribute(torch.randn(1, 4), 1)
    with pytest.raises(InputError, match="unknown placement 'top'; choose one of: receptive_fields, stretch"):
        attribution.create("grad_cam", flat, placement="top")


def test_stretched_as_published():
    model, x = Net().double().eval(), torch.randn(2, 2, 8, 8, 8, dtype=torch.float64)
    fine, coarse = attribution.create("grad_cam", model, placement="stretch").attribute(x, 1, return_coarse=True)
    assert torch.equal(fine[:, :1], F.interpolate(coarse, (8, 8, 8), mode="trilinear"))
    # padded convolutions and even pooling on an even grid: the fields' centres are where stretching puts them
    torch.testing.assert_close(fine, attribution.create("grad_cam", model).attribute(x, 1))


def test_the_branch_that_a_scan_takes_is_explained():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv1d(1, 3, 3), nn.Linear(24, 2)

        def forward(self, x):
            return self.fc(self.conv(x if x.sum() > 0 else -x).flatten(1))

    model, x = Branching().eval(), torch.rand(1, 1, 10)
    for scan in (x, -x):
        found = attribution.create("grad_cam", model, relu=False).attribute(scan, 1, return_coarse=True)[1]
        features, weight = model.conv(x).detach(), model.fc.weight[1].view(3, 8).mean(1)
        torch.testing.assert_close(found, (features * weight[:, None]).sum(1, keepdim=True).detach())


class Transformer(nn.Module):
    """A small vision transformer; its class token stands first or last, or tokens are averaged."""

    def __init__(self, token, by="conv"):
        super().__init__()
        torch.manual_seed(2)
        self.token, self.by = token, by
        self.patches = nn.Conv2d(1, 6, 4, 4) if by == "conv" else nn.Linear(16, 6)
        self.cls, self.place = (
            nn.Parameter(torch.randn(1, 1, 6)),
            nn.Parameter(torch.randn(1, 7 - (token == "mean"), 6)),
        )
        self.norm1, self.norm2, self.norm = nn.LayerNorm(6), nn.LayerNorm(6), nn.LayerNorm(6)
        self.attend1, self.attend2 = (nn.MultiheadAttention(6, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        if self.by == "conv":
            x = self.patches(x).flatten(2).transpose(1, 2)
        else:
            x = x.view(len(x), 2, 4, 3, 4).permute(0, 1, 3, 2, 4).reshape(len(x), 6, 16)
            x = self.patches(x)
        if self.token != "mean":
            both = [self.cls.expand(len(x), -1, -1), x]
            x = torch.cat(both if self.token == "first" else both[::-1], 1)
        x = x + self.place
        for norm, attend in ((self.norm1, self.attend1), (self.norm2, self.attend2)):
            y = norm(x)
            x = x + attend(y, y, y, need_weights=False)[0]
        x = self.norm(x)
        return self.head(x.mean(1) if self.token == "mean" else x[:, 0 if self.token == "first" else -1])


@pytest.mark.parametrize("by", ["conv", "linear"])
@pytest.mark.parametrize("token", ["first", "last", "mean"])
def test_the_tokens_of_a_transformer_by_hand(token, by):
    model, x = Transformer(token, by).double().eval(), torch.randn(2, 1, 8, 12, dtype=torch.float64)
    found = attribution.create("grad_cam", model, relu=False, placement="stretch").attribute(x, 1, return_coarse=True)[
        1
    ]
    kept = {}
    model.norm2.register_forward_hook(lambda module, inputs, out: kept.update(out=out))
    score = model(x)[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, kept["out"])
    place = {"first": slice(1, None), "last": slice(0, -1), "mean": slice(None)}[token]
    features, gradient = kept["out"][:, place].detach(), gradient[:, place]
    wanted = (features * gradient.mean(1, keepdim=True)).sum(2).view(2, 1, 2, 3)
    if by == "linear":
        wanted = wanted.repeat_interleave(4, 2).repeat_interleave(4, 3)
    model.norm2._forward_hooks.clear()
    torch.testing.assert_close(found, wanted)
    named = attribution.create("grad_cam", model, layer="norm2", relu=False, placement="stretch")
    torch.testing.assert_close(named.attribute(x, 1, return_coarse=True)[1], wanted)


def test_transformers_whose_tokens_are_no_patches_are_refused():
    class Overlapping(Transformer):
        def __init__(self):
            super().__init__("mean")
            self.patches = nn.Sequential(nn.Conv2d(1, 6, 4, 4), nn.Flatten(2), nn.Linear(6, 6))

        def forward(self, x):
            x = self.patches(x).transpose(1, 2)
            y = self.norm1(x)
            return self.head((x + self.attend1(y, y, y, need_weights=False)[0]).mean(1))

    with pytest.raises(UnsupportedLayerError, match="tokens are not patches of the input; name one"):
        attribution.create("grad_cam", Overlapping().eval()).attribute(torch.randn(2, 1, 8, 12), 1)


def test_a_network_of_functions():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.w, self.v = nn.Parameter(torch.randn(3, 1, 3)), nn.Parameter(torch.randn(2, 3))

        def forward(self, x):
            return F.conv1d(x, self.w).relu().mean(2) @ self.v.T

    model, x = Functional().double().eval(), torch.randn(2, 1, 9, dtype=torch.float64)
    found = attribution.create("grad_cam", model, relu=False).attribute(x, 1, return_coarse=True)[1]
    wanted = (F.conv1d(x, model.w).relu() * model.v[1][:, None] / 7).sum(1, keepdim=True)
    torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize("name", ["grad_cam", "guided_grad_cam"])
def test_feature_maps_of_parts_of_a_sample_are_refused(name):
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv1d(1, 3, 3), nn.Linear(24, 2)

        def forward(self, x):
            first, second = self.conv(torch.cat([x, x.flip(2)])).relu().chunk(2)
            return self.fc((first + second).flatten(1))

    with pytest.raises(UnsupportedLayerError, match="puts out 2 feature maps of 1 samples"):
        attribution.create(name, Halves().eval()).attribute(torch.rand(1, 1, 10), 1)
