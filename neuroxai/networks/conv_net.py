"""A 3D classifier of convolution blocks and fully connected layers that ends in logits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from neuroxai.errors import InputError, SpaceError

Padding = Literal[0, "same"]
_KERNEL = 3
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


@dataclass(frozen=True)
class Block:
    """One convolution block.

    Parameters
    ----------
    channels : int
        Filters of the 3 x 3 x 3 convolution.
    pool : int, optional
        Edge of the max-pooling window after the activation; None for no pooling.
    stride : int, optional
        Stride of the pooling; its window's edge by default.
    """

    channels: int
    pool: int | None = None
    stride: int | None = None


class ConvNet(nn.Module):
    """Convolution blocks, then fully connected layers; the output are logits.

    A block is convolution, (batch norm), activation, (max-pooling, (channel dropout)). Modules carry the block's number
    in their names (``features.conv1``, ``features.pool1``), which state dicts and relevance per layer rely on.

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the three axes.
    blocks : sequence of Block
        The convolution blocks, first to last.
    in_channels : int
        Channels of the input, 1 for a single sequence.
    num_classes : int
        Logits; 1 for a binary decision by one logit.
    norm : bool
        Batch normalisation after each convolution.
    activation : {"relu", "elu"}
        After each convolution and each hidden linear layer.
    padding : {0, "same"}
        0 for valid convolutions, "same" to keep the grid (for coarse grids).
    hidden : sequence of int
        Widths of hidden linear layers.
    dropout : float
        Dropout before each linear layer.
    pool_dropout : float
        Channel dropout (Dropout3d) after each pooling.
    name : str
        Used in messages.

    Raises
    ------
    SpaceError
        If the grid is too small; the message names the smallest possible one.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        blocks: Sequence[Block],
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        norm: bool = True,
        activation: str = "relu",
        padding: Padding = 0,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        pool_dropout: float = 0.0,
        name: str = "ConvNet",
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise InputError(f"{name}: activation {activation!r} is not among {sorted(_ACTIVATIONS)}")
        if num_classes < 1 or in_channels < 1:
            raise InputError(f"{name}: got {in_channels} input channels and {num_classes} logits, wanted 1 or more")
        self.in_shape = _checked_shape(in_shape, blocks, padding, name)
        self.num_classes = num_classes
        act = _ACTIVATIONS[activation]

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        shape, channels = self.in_shape, in_channels
        for number, block in enumerate(blocks, start=1):
            layers[f"conv{number}"] = nn.Conv3d(channels, block.channels, _KERNEL, padding=padding)
            if norm:
                layers[f"norm{number}"] = nn.BatchNorm3d(block.channels)
            layers[f"act{number}"] = act()
            if block.pool:
                layers[f"pool{number}"] = nn.MaxPool3d(block.pool, block.stride or block.pool)
                if pool_dropout:
                    layers[f"drop{number}"] = nn.Dropout3d(pool_dropout)
            channels = block.channels
            x, y, z = (_after(n, block, padding) for n in shape)
            shape = (x, y, z)
        self.features = nn.Sequential(layers)

        width = channels * shape[0] * shape[1] * shape[2]
        head: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for number, size in enumerate([*hidden, num_classes], start=1):
            if dropout:
                head[f"drop{number}"] = nn.Dropout(dropout)
            head[f"linear{number}"] = nn.Linear(width, size)
            if number <= len(hidden):
                head[f"act{number}"] = act()
            width = size
        self.head = nn.Sequential(head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, num_classes), of scans, shape (batch, in_channels, *in_shape)."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits


def smallest_grid(blocks: Sequence[Block], padding: Padding = 0) -> int:
    """Return the fewest voxels along an axis for which the blocks leave at least one."""
    size = 1
    for block in reversed(blocks):
        if block.pool:
            size = (size - 1) * (block.stride or block.pool) + block.pool
        if padding != "same":
            size += _KERNEL - 1
    return size


def _after(size: int, block: Block, padding: Padding) -> int:
    if padding != "same":
        size -= _KERNEL - 1
    return (size - block.pool) // (block.stride or block.pool) + 1 if block.pool else size


def _checked_shape(
    in_shape: Sequence[int], blocks: Sequence[Block], padding: Padding, name: str
) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in in_shape)
    if len(shape) != 3:
        raise SpaceError(f"{name}: in_shape is {shape}, wanted three axis lengths such as (96, 114, 96)")
    if padding not in (0, "same"):
        raise InputError(f"{name}: padding is {padding!r}, wanted 0 (valid convolutions) or 'same'")
    least = smallest_grid(blocks, padding)
    if min(shape) < least:
        way_out = "a finer grid"
        if padding != "same":
            way_out = f"padding='same' (at least {smallest_grid(blocks, 'same')} voxels) or a finer grid"
        raise SpaceError(
            f"{name}: the grid {shape} is too small, with padding={padding!r} each axis needs at least {least} voxels; "
            f"use {way_out}"
        )
    return shape[0], shape[1], shape[2]
