"""Classification networks: a configurable convolutional net and the published ones by name."""

from neuroxai.networks.conv_net import Block, ConvNet, smallest_grid
from neuroxai.networks.presets import ad_cnn, ms_cnn

__all__ = ["Block", "ConvNet", "ad_cnn", "ms_cnn", "smallest_grid"]
