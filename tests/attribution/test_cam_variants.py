"""Grad-CAM++, LayerCAM, HiResCAM and Score-CAM: their papers' formulas, and networks that are not ours."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError, UnsupportedLayerError

VARIANTS = ("grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam")
SHAPE = (7, 5, 9)  # odd and unequal


class Net(nn.Module):
    """A ReLU network, linear between the layer's features and the score but for one more ReLU."""

    def __init__(self, classes=2):
        super().__init__()
        torch.manual_seed(5)
        self.conv1, self.conv2 = nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(3, 4, 3, stride=2, padding=1)
        self.act, self.fc1, self.fc2 = nn.ReLU(), nn.Linear(4 * 4 * 3 * 5, 6), nn.Linear(6, classes)

    def features(self, x):
        return self.act(self.conv2(torch.relu(self.conv1(x))))

    def end(self, features):
        return self.fc2(torch.relu(self.fc1(features.flatten(1))))

    def forward(self, x):
        return self.end(self.features(x))


def net(classes=2):
    return Net(classes).double().eval()


def scans(batch=2):
    return torch.randn(batch, 2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def coarse(name, model, x, target=None, **options):
    return attribution.create(name, model, **options).attribute(x, target, return_coarse=True)[1]


def by_hand(name, model, x, target):
    """One scan's map on the layer's grid, before any ReLU, as the paper writes it."""
    a = model.features(x).detach().requires_grad_(True)
    y = model.end(a)[0, target]
    if name == "grad_cam_plus_plus":  # equations 10 and 19, of Y = exp(score), with derivatives by autograd
        y = y.exp()
        (first,) = torch.autograd.grad(y, a, create_graph=True)
        alpha = torch.zeros_like(a)
        for place in (first != 0).nonzero().tolist():
            (second,) = torch.autograd.grad(first[tuple(place)], a, create_graph=True)
            (third,) = torch.autograd.grad(second[tuple(place)], a, retain_graph=True)
            below = 2 * second[tuple(place)] + a[0, place[1]].sum() * third[tuple(place)]
            alpha[tuple(place)] = (second[tuple(place)] / below).detach()
        weights = (alpha * first.relu()).sum((2, 3, 4), keepdim=True) / y
        return (weights * a).sum(1, keepdim=True).detach()
    if name == "score_cam":  # algorithm 1
        scores = []
        for k in range(a.shape[1]):
            mask = F.interpolate(a[:, k : k + 1], SHAPE, mode="trilinear")
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            scores.append(model(x * mask)[0, target] - model(torch.zeros_like(x))[0, target])
        weights = torch.stack(scores).softmax(0).view(1, -1, 1, 1, 1)
        return (weights * a).sum(1, keepdim=True).detach()
    (gradient,) = torch.autograd.grad(y, a)
    weights = gradient.relu() if name == "layer_cam" else gradient
    return (weights * a).sum(1, keepdim=True).detach()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("classes", [1, 3])
def test_the_papers_formula(name, classes):
    model, x, options = net(classes), scans(), {"placement": "stretch"}
    targets = [0, classes - 1]
    found = coarse(name, model, x, targets, relu=False, **options)
    wanted = torch.cat([by_hand(name, model, x[n : n + 1], t) for n, t in enumerate(targets)])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert found.shape == (2, 1, 4, 3, 5)
    torch.testing.assert_close(coarse(name, model, x, targets, relu=True, **options), wanted.relu())
    torch.testing.assert_close(coarse(name, model, x[1:], targets[1], relu=False, **options), wanted[1:])
    fine = attribution.create(name, model, **options).attribute(x, targets)
    default = wanted if name == "hires_cam" else wanted.relu()
    torch.testing.assert_close(fine, F.interpolate(default, SHAPE, mode="trilinear").expand(x.shape))


def test_a_hires_cam_adds_up_to_the_score_of_a_linear_end():
    torch.manual_seed(0)
    body = [nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 3 * 7, 2)]
    model, x = nn.Sequential(*body).double().eval(), scans()
    total = coarse("hires_cam", model, x, 1).flatten(1).sum(1)
    torch.testing.assert_close(total, (model(x) - model[3].bias)[:, 1].detach())


def test_grad_cam_plus_plus_is_monais_where_the_gradient_is_even():
    from monai.visualize import GradCAMpp

    class Averaged(Net):
        def end(self, features):
            return features.flatten(2).mean(2) @ self.fc2.weight[:, :4].T

    torch.manual_seed(0)
    model, x = Averaged().double().eval(), scans(1)
    theirs = GradCAMpp(model, target_layers="act").compute_map(x, class_idx=1)
    found = coarse("grad_cam_plus_plus", model, x, 1)
    torch.testing.assert_close(found / found.max(), theirs / theirs.max(), rtol=1e-4, atol=1e-6)  # theirs has a 1e-7
    assert float(found.max()) > 0


def test_masks_of_score_cam():
    model, x = net(), scans()
    whole = attribution.create("score_cam", model).attribute(x, 1)
    for perturbations_per_eval in (1, 3):
        few = attribution.create("score_cam", model, perturbations_per_eval=perturbations_per_eval).attribute(x, 1)
        torch.testing.assert_close(few, whole)
    likely = attribution.create("score_cam", model, score="probability").attribute(x, 1)
    assert not torch.allclose(likely, whole)
    ended = attribution.create("score_cam", nn.Sequential(model, nn.Softmax(1)).eval(), score="probability")
    torch.testing.assert_close(ended.attribute(x, 1), likely)
    with torch.no_grad():
        model.conv2.weight[1:] = 0  # three constant maps, which count for nothing
    found = coarse("score_cam", model, x, 1)
    torch.testing.assert_close(found, model.features(x)[:, :1].detach())
    with pytest.raises(InputError, match="score is 'odds'; one of logit, probability is expected"):
        attribution.create("score_cam", model, score="odds")
    with pytest.raises(InputError, match="perturbations_per_eval is 0"):
        attribution.create("score_cam", model, perturbations_per_eval=0)


def test_score_cam_needs_no_gradient():
    class Detached(Net):
        def forward(self, x):
            return super().forward(x).detach()

    model, x = Detached().double().eval(), scans()
    assert torch.equal(
        attribution.create("score_cam", model).attribute(x, 1), attribution.create("score_cam", net()).attribute(x, 1)
    )
    with pytest.raises(UnsupportedLayerError, match="no gradient"):
        attribution.create("layer_cam", model).attribute(x, 1)


class Two(nn.Module):
    """Two scans on grids of their own, and an age."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.fc = nn.Conv3d(2, 3, 3), nn.Conv3d(1, 3, 2), nn.Linear(7, 2)
        self.fc.weight.data.abs_()  # each map counts for each class

    def forward(self, x, y, age):
        x, y = (torch.relu(conv(v)).flatten(2).amax(2) for conv, v in ((self.a, x), (self.b, y)))
        return self.fc(torch.cat([x, y, age], 1))


@pytest.mark.parametrize("name", VARIANTS)
def test_each_of_two_scans_by_a_layer_of_its_own(name):
    model, x = Two().double().eval(), scans()
    y, age = scans()[:, :1, :4], torch.tensor([[0.7], [1.3]], dtype=torch.float64)
    found = attribution.create(name, model, relu=False).attribute((x, y, age), 1)
    alone = attribution.create(name, model, relu=False).attribute(x, 1, (y, age))
    torch.testing.assert_close(found[0], alone)
    assert [one.shape for one in found] == [x.shape, y.shape, age.shape]
    assert bool(found[1].any())
    assert not found[2].any()


def monai_network(kind):
    from monai.networks import nets
    from monai.networks.nets.swin_unetr import SwinTransformer

    torch.manual_seed(0)
    if kind == "DenseNet":
        return nets.DenseNet(3, 1, 2, init_features=4, growth_rate=2, block_config=(2, 2), bn_size=1), (33, 40, 35)
    if kind == "ResNet":
        return nets.ResNet("basic", [1] * 4, [2, 2, 4, 4], n_input_channels=1, num_classes=2), (33, 40, 35)
    vit = {"hidden_size": 12, "mlp_dim": 12, "num_layers": 2, "num_heads": 2, "classification": True}

    class Encoder(nn.Module):
        def __init__(self, swin):
            super().__init__()
            sizes = ((2, 2, 2), (2, 2, 2), (1, 1, 1, 1), (1, 1, 1, 1))
            self.body = SwinTransformer(1, 4, *sizes) if swin else nets.ViT(1, (16, 24, 8), (8, 8, 4), **vit)
            self.fc = nn.Linear(64, 2)

        def forward(self, x):
            found = self.body(x)
            return found[0] if isinstance(found, tuple) else self.fc(found[-1].flatten(2).mean(2))

    return (Encoder(True), (32, 48, 64)) if kind == "Swin" else (Encoder(False), (16, 24, 8))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("kind", ["DenseNet", "ResNet", "ViT", "Swin"])
def test_networks_of_monai(kind, name):
    model, shape = monai_network(kind)
    model, x = model.eval(), torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(1))
    if kind == "Swin":  # of windows of tokens no layer is found, but one that puts out a grid can be named
        with pytest.raises(UnsupportedLayerError, match=r"finds no layer of Encoder with a grid: name one .* layer="):
            attribution.create(name, model, relu=False).attribute(x, 1)
    options = {"layer": "body.patch_embed"} if kind == "Swin" else {}
    found = attribution.create(name, model, relu=False, **options).attribute(x, 1)
    assert found.shape == x.shape
    assert bool(found.isfinite().all())
    assert bool(found.flatten(1).any(1).all())
