"""A 3D classifier of convolution blocks and fully connected layers that ends in logits."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from neuroxai.errors import InputError, SpaceError
from neuroxai.networks.checkpointing import run

Padding = Literal[0, "same", "auto"]
_KERNEL = 3
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}


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
    padding : {0, "same"}, optional
        Of this block's convolution; the network's by default.
    """

    channels: int
    pool: int | None = None
    stride: int | None = None
    padding: Padding | None = None


class Classifier(nn.Module):
    """Features, then a head that ends in logits: what the networks of this package have in common."""

    def __init__(self, in_channels: int, num_classes: int, checkpointing: bool, name: str) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1:
            raise InputError(f"{name}: got {in_channels} input channels and {num_classes} logits, expected 1 or more")
        self.num_classes = num_classes
        self.checkpointing = checkpointing
        self.features = self.head = nn.Sequential()  # each network fills them

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, num_classes), of scans, shape (batch, in_channels, *in_shape)."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            features = self.features(x)
        else:
            features = run(self.features, x, self.checkpointing and self.training)
        logits: torch.Tensor = self.head(features)
        return logits


class ConvNet(Classifier):
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
    activation : {"relu", "elu", "tanh"}
        After each convolution and each hidden linear layer.
    padding : {0, "same", "auto"}
        0 for valid convolutions, "same" to keep the grid (for coarse grids), "auto" for 0 where the grid suffices
        and "same" elsewhere; the attribute ``padding`` says which it came to be.
    hidden : sequence of int
        Widths of hidden linear layers.
    dropout : float
        Dropout before each linear layer.
    pool_dropout : float
        Channel dropout (Dropout3d) after each pooling.
    checkpointing : bool
        Keep few activations in training and compute them again in the backward pass: less memory, more time, the same
        gradients (see `neuroxai.networks.checkpointing`).
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
        checkpointing: bool = False,
        name: str = "ConvNet",
    ) -> None:
        super().__init__(in_channels, num_classes, checkpointing, name)
        self.padding = padding = settled_padding(in_shape, blocks, padding)
        self.in_shape = checked_shape(in_shape, blocks, padding, name)
        act = activation_type(activation, name)
        layers, shape = feature_layers(self.in_shape, blocks, in_channels, act, padding, norm, pool_dropout)
        self.features = nn.Sequential(layers)
        self.head = head(math.prod(shape), hidden, num_classes, act, dropout)


def activation_type(activation: str, name: str) -> type[nn.Module]:
    """Return the class of an activation by its name."""
    if activation not in ACTIVATIONS:
        raise InputError(f"{name}: activation {activation!r} is not among {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def feature_layers(
    in_shape: Sequence[int],
    blocks: Sequence[Block],
    in_channels: int,
    act: type[nn.Module],
    padding: Padding,
    norm: bool,
    pool_dropout: float,
) -> tuple[OrderedDict[str, nn.Module], tuple[int, int, int, int]]:
    """Return the layers of convolution blocks by name, and the shape (channels, x, y, z) that leaves them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    shape, channels = tuple(in_shape), in_channels
    for number, block in enumerate(blocks, start=1):
        layers[f"conv{number}"] = nn.Conv3d(channels, block.channels, _KERNEL, padding=_padding(block, padding))
        if norm:
            layers[f"norm{number}"] = nn.BatchNorm3d(block.channels)
        layers[f"act{number}"] = act()
        if block.pool:
            layers[f"pool{number}"] = nn.MaxPool3d(block.pool, block.stride or block.pool)
            if pool_dropout:
                layers[f"drop{number}"] = nn.Dropout3d(pool_dropout)
        channels = block.channels
        shape = tuple(_after(n, block, padding) for n in shape)
    return layers, (channels, shape[0], shape[1], shape[2])


def head(
    width: int, hidden: Sequence[int], num_classes: int, act: type[nn.Module], dropout: float = 0.0
) -> nn.Sequential:
    """Return flattening and fully connected layers, an activation after each but the last, dropout before each."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, size in enumerate([*hidden, num_classes], start=1):
        if dropout:
            layers[f"drop{number}"] = nn.Dropout(dropout)
        layers[f"linear{number}"] = nn.Linear(width, size)
        if number <= len(hidden):
            layers[f"act{number}"] = act()
        width = size
    return nn.Sequential(layers)


def smallest_grid(blocks: Sequence[Block], padding: Padding = 0, size: int = 1) -> int:
    """Return the fewest voxels along an axis for which the blocks leave at least `size`."""
    for block in reversed(blocks):
        if block.pool:
            size = (size - 1) * (block.stride or block.pool) + block.pool
        if _padding(block, padding) != "same":
            size += _KERNEL - 1
    return size


def settled_padding(
    in_shape: Sequence[int], blocks: Sequence[Block], padding: Padding, size: int = 1
) -> Literal[0, "same"]:
    """Return what "auto" stands for on a grid: valid convolutions (0) where they leave `size` voxels, else "same"."""
    if padding != "auto":
        return padding
    return 0 if min(in_shape, default=0) >= smallest_grid(blocks, 0, size) else "same"


def _padding(block: Block, of_network: Padding) -> Padding:
    return of_network if block.padding is None else block.padding


def _after(size: int, block: Block, padding: Padding) -> int:
    if _padding(block, padding) != "same":
        size -= _KERNEL - 1
    return (size - block.pool) // (block.stride or block.pool) + 1 if block.pool else size


def checked_shape(
    in_shape: Sequence[int], blocks: Sequence[Block], padding: Padding, name: str, size: int = 1
) -> tuple[int, int, int]:
    """Return the grid; refuse one of other than three axes, or one of which the blocks leave less than `size` voxels.

    Raises
    ------
    InputError
        For a padding other than 0 and "same" ("auto" is settled before).
    SpaceError
        For a grid that will not do; the message names the smallest that will.
    """
    shape = tuple(int(n) for n in in_shape)
    if len(shape) != 3:
        raise SpaceError(f"{name}: in_shape is {shape}, expected three axis lengths such as (96, 114, 96)")
    if padding not in (0, "same"):
        raise InputError(f"{name}: padding is {padding!r}, expected 0 (valid convolutions), 'same' or 'auto'")
    least = smallest_grid(blocks, padding, size)
    if min(shape) < least:
        way_out = "a finer grid"
        if padding != "same":
            way_out = f"padding='same' (at least {smallest_grid(blocks, 'same', size)} voxels) or a finer grid"
        raise SpaceError(
            f"{name}: the grid {shape} is too small, with padding={padding!r} each axis needs at least {least} voxels; "
            f"use {way_out}"
        )
    return shape[0], shape[1], shape[2]
