"""MONAI's 3D networks, explained with no user code."""

from __future__ import annotations

import pytest
import torch
from monai.networks import nets
from torch import nn

from neuroxai.lrp import LRP, Epsilon, composites

pytestmark = pytest.mark.full(0)

NETWORKS = {
    "densenet121": (lambda: nets.DenseNet121(spatial_dims=3, in_channels=1, out_channels=2), 32),
    "small densenet": (
        lambda: nets.DenseNet(3, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2), bn_size=2, act="elu"),
        24,
    ),
    "resnet10": (lambda: nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=2), 16),
    "resnet18": (lambda: nets.resnet18(spatial_dims=3, n_input_channels=1, num_classes=2), 16),
    "resnet50": (lambda: nets.resnet50(spatial_dims=3, n_input_channels=1, num_classes=2, conv1_t_stride=2), 16),
    "seresnet50": (lambda: nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=2), 32),
    "efficientnet-b0": (
        lambda: nets.EfficientNetBN(
            "efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=1, num_classes=2
        ),
        32,
    ),
    "classifier": (lambda: nets.Classifier((1, 16, 16, 16), 2, (4, 8, 16), (2, 2, 2), act="elu"), 16),
    "attention u-net": (
        lambda: nn.Sequential(nets.AttentionUnet(3, 1, 2, (4, 8, 16), (2, 2)), nn.AdaptiveAvgPool3d(1), nn.Flatten()),
        16,
    ),
    "u-net": (
        lambda: nn.Sequential(
            nets.UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=1, norm=("group", {"num_groups": 2})),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        ),
        16,
    ),
    "segresnet": (lambda: nn.Sequential(nets.SegResNet(3, 8, 1, 2), nn.AdaptiveMaxPool3d(1), nn.Flatten()), 16),
}  # fmt: skip


def scan(grid):
    axes = torch.meshgrid(*[torch.linspace(-1, 1, grid, dtype=torch.float64)] * 3, indexing="ij")
    blob = torch.exp(-((axes[0] - 0.4) ** 2 + (axes[1] + 0.2) ** 2 + axes[2] ** 2) * 4)  # on one side
    noise = torch.randn(1, 1, grid, grid, grid, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return blob + 0.3 * noise


def network(name, shifts):
    """A network with random weights and the running statistics of its own activations, as after training.

    Without `shifts` all biases, and what acts as one (means and shifts of the normalisations), are zero.
    """
    make, grid = NETWORKS[name]
    torch.manual_seed(0)
    model, x = make().double(), scan(grid)
    generator = torch.Generator().manual_seed(2)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for module in model.modules():
            bias = getattr(module, "bias", None)
            if isinstance(bias, torch.Tensor):
                drawn = torch.randn(bias.shape, generator=generator, dtype=torch.float64)
                bias.copy_(0.1 * drawn if shifts else 0 * drawn)
        for norm in norms:
            norm.momentum = None  # a plain average
            norm.weight.uniform_(0.5, 1.5, generator=generator)
        with torch.random.fork_rng():
            model(torch.cat([x, scan(grid).flip(2) * 1.3]))  # in training mode
        for norm in norms:
            drawn = torch.rand(norm.running_var.shape, generator=generator, dtype=torch.float64)
            norm.running_var.clamp_(min=0.3 * float(norm.running_var.mean())).mul_(1 + drawn)
            if not shifts:
                norm.running_mean.zero_()
    return model.eval(), x


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_sums_to_the_logit_and_maps_differ_between_classes(name):
    model, x = network(name, shifts=False)
    both = x.repeat(2, 1, 1, 1, 1)
    logits = model(x)[0].detach()
    assert logits.abs().min() > 1e-6 * logits.abs().max()
    lrp = LRP(model, composites.epsilon(1e-12))  # what the stabiliser takes grows with it: 1e-6 takes up to 1e-4
    relevance = lrp.attribute(both, [0, 1], start="logit")
    assert relevance.shape == both.shape
    sums = relevance.flatten(1).sum(1)
    torch.testing.assert_close(sums, logits, rtol=1e-6, atol=0)
    first, second = relevance.flatten(1)
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 0.999
    general, layers = lrp.attribute(both, [0, 1], return_layers=True, start="logit")
    scale = float(relevance.abs().max())
    torch.testing.assert_close(general, relevance, rtol=0, atol=1e-10 * scale)
    assert len(layers) > 10


@pytest.mark.parametrize("mode", ["ignore", "distribute"])
def test_biases_that_keep_nothing_conserve(mode):
    # behind ELU no value is exactly zero; a neuron with no contributions but its bias would pass nothing on
    model, x = network("small densenet", shifts=True)
    relevance = LRP(model, composites.everywhere(Epsilon(1e-12, mode))).attribute(x, 1, start="logit")
    torch.testing.assert_close(relevance.sum(), model(x)[0, 1].detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["densenet121", "efficientnet-b0", "classifier"])
@pytest.mark.parametrize("preset", [composites.alpha_beta(1.0), composites.z_plus(), composites.epsilon_plus_flat()])
def test_other_presets_give_finite_maps(name, preset):
    model, x = network(name, shifts=True)
    model, x = model.float(), x.float()
    relevance = LRP(model, preset).attribute(x, 0, start="logit")
    assert bool(torch.isfinite(relevance).all())
    assert relevance.abs().max() > 0
