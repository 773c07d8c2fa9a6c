from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai import networks
from neuroxai.errors import InputError, SpaceError

REDUCED, FULL = (96, 114, 96), (182, 218, 182)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def inputs_of_the_head(network: nn.Module) -> int:
    return next(m.in_features for m in network.modules() if isinstance(m, nn.Linear))


@pytest.mark.parametrize(
    ("name", "count", "width"),
    [
        ("model_a", 238_997, 1296),
        ("model_b", 499_845, 1296),
        ("model_a_pif", 259_131, 1134),
        ("model_b_pif", 519_979, 1134),
    ],
)
def test_parameter_counts_at_two_millimetres_are_the_published_ones(name, count, width):
    network = getattr(networks, name)(REDUCED)
    assert parameters(network) == count
    assert inputs_of_the_head(network) == width


# what the published code hands to its first linear layer at 1 mm, and the sums of its layers' parameters
FULL_CONVS = {"model_a": 183_568, "model_b": 173_184, "model_a_pif": 72_912, "model_b_pif": 62_528}
FULL_WIDTHS = {"model_a": 11_200, "model_b": 6_144, "model_a_pif": 7_776, "model_b_pif": 1_458}


@pytest.mark.parametrize("name", FULL_WIDTHS)
def test_layers_at_one_millimetre_are_the_published_ones(name):
    network = getattr(networks, name)(FULL)
    assert inputs_of_the_head(network) == FULL_WIDTHS[name]
    pif = FULL_WIDTHS[name] // 27 * (64 * 27 + 1) if "pif" in name else 0  # 27 output voxels for each patch x filter
    assert parameters(network) == FULL_CONVS[name] + pif + FULL_WIDTHS[name] * 100 + 100 + 101


@pytest.mark.parametrize("shape", [REDUCED, pytest.param(FULL, marks=pytest.mark.full(0))])
@pytest.mark.parametrize("name", ["model_a", "model_b", "model_a_pif", "model_b_pif", "patch_cnn"])
def test_forward_at_both_grids_gives_one_logit(name, shape):
    network = getattr(networks, name)(shape).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, *shape)).shape == (1, 1)


@pytest.mark.parametrize("name", ["model_a", "model_b", "model_a_pif", "model_b_pif", "patch_cnn"])
def test_channels_and_classes_are_options(name):
    network = getattr(networks, name)(in_channels=2, num_classes=3).eval()
    assert next(m for m in network.modules() if isinstance(m, nn.Conv3d)).in_channels == 2
    assert [m for m in network.modules() if isinstance(m, nn.Linear)][-1].out_features == 3


def test_the_design_can_be_chosen():
    assert inputs_of_the_head(networks.model_a(FULL, design="reduced")) != FULL_WIDTHS["model_a"]
    assert inputs_of_the_head(networks.model_a((193, 229, 193))) == 64 * 6 * 8 * 6
    with pytest.raises(InputError, match="unknown design of model_a 'ukb'; choose one of: auto, full, reduced"):
        networks.model_a(design="ukb")


def test_patches_of_another_size_and_the_published_overlap_are_options():
    network = networks.model_a_pif(patch_shape=(5, 4, 5), overlap="reference")
    assert network.features.pif.patch_shape == (5, 4, 5)
    assert network.features.pif.overlap == "reference"
    assert networks.model_a_pif().features.pif.overlap == "half"


def test_coarse_grids_need_padding():
    with pytest.raises(SpaceError, match="padding='same'"):
        networks.model_a_pif((48, 57, 48))
    network = networks.model_a_pif((48, 57, 48), padding="same").eval()
    assert network(torch.rand(1, 1, 48, 57, 48)).shape == (1, 1)


def test_the_patch_network_has_four_convolutions_and_two_linear_layers():
    network = networks.patch_cnn()
    assert parameters(network) == 120_001
    kinds = [type(m) for m in network.modules()]
    assert kinds.count(nn.Conv3d) == 4
    assert kinds.count(nn.Linear) == 2
    assert network.shared.in_shape == (48, 38, 48)
