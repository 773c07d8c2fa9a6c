"""Classification networks: a configurable convolutional net and the published ones by name."""

from neuroxai.networks.conv_net import Block, ConvNet, smallest_grid
from neuroxai.networks.eitel2021 import model_a, model_a_pif, model_b, model_b_pif, patch_cnn
from neuroxai.networks.patch_net import PatchNet
from neuroxai.networks.pif_net import PifNet
from neuroxai.networks.presets import ad_cnn, ms_cnn
from neuroxai.networks.registry import create, names

__all__ = [
    "Block",
    "ConvNet",
    "PatchNet",
    "PifNet",
    "ad_cnn",
    "create",
    "model_a",
    "model_a_pif",
    "model_b",
    "model_b_pif",
    "ms_cnn",
    "names",
    "patch_cnn",
    "smallest_grid",
]
