"""Small networks around one layer."""

from __future__ import annotations

import torch
from torch import nn


def randomised(module, seed=0):
    """Draw all parameters from a standard normal."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


class Scores(nn.Module):
    """A layer's whole output as scores, so that any output neuron can be the target."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).flatten(1)
