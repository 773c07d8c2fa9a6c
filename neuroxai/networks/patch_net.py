"""A 3D classifier of patches of the scan: one small network for all of them, the logits averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from neuroxai.errors import InputError, SpaceError
from neuroxai.networks.conv_net import Block, ConvNet, Padding


class PatchNet(nn.Module):
    """Cut a scan into patches, classify each by the same network wherever it stands, average the logits.

    The baseline that Eitel et al. (2021) adapted from Liu et al. (2018). Axes that are no multiple of the number of
    patches are filled up with zeros at their end.

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the three axes.
    blocks : sequence of Block
        Convolution blocks of the shared network.
    patches : sequence of int
        Patches along the three axes.
    in_channels, num_classes, norm, activation, padding, hidden, dropout, pool_dropout, checkpointing, name
        As for `neuroxai.networks.ConvNet`, which the shared network is.

    Raises
    ------
    SpaceError
        If a patch is too small for the blocks; the message names the smallest possible one.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        blocks: Sequence[Block],
        patches: Sequence[int] = (2, 3, 2),
        *,
        in_channels: int = 1,
        num_classes: int = 1,
        norm: bool = False,
        activation: str = "tanh",
        padding: Padding = 0,
        hidden: Sequence[int] = (40,),
        dropout: float = 0.0,
        pool_dropout: float = 0.0,
        checkpointing: bool = False,
        name: str = "PatchNet",
    ) -> None:
        super().__init__()
        shape, counts = tuple(int(n) for n in in_shape), tuple(int(n) for n in patches)
        if len(shape) != 3:
            raise SpaceError(f"{name}: in_shape is {shape}, expected three axis lengths such as (96, 114, 96)")
        if len(counts) != 3 or min(counts) < 1:
            raise InputError(f"{name}: patches is {counts}, expected three numbers of at least 1 such as (2, 3, 2)")
        patch = [-(-n // count) for n, count in zip(shape, counts, strict=True)]
        self.in_shape = (shape[0], shape[1], shape[2])
        self.num_classes = num_classes
        self.patches = counts[0] * counts[1] * counts[2]
        cut: list[nn.Module] = []
        missing = [count * size - n for n, count, size in zip(shape, counts, patch, strict=True)]
        if any(missing):
            cut.append(nn.ConstantPad3d((0, missing[2], 0, missing[1], 0, missing[0]), 0.0))
        cut += [nn.Unflatten(axis, (counts[axis - 2], patch[axis - 2])) for axis in (4, 3, 2)]
        self.cut = nn.Sequential(*cut)
        self.shared = ConvNet(
            patch,
            blocks,
            in_channels=in_channels,
            num_classes=num_classes,
            norm=norm,
            activation=activation,
            padding=padding,
            hidden=hidden,
            dropout=dropout,
            pool_dropout=pool_dropout,
            checkpointing=checkpointing,
            name=f"{name}, each of its {self.patches} patches",
        )
        self.padding = self.shared.padding
        self.average = nn.AdaptiveAvgPool1d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, num_classes), of scans, shape (batch, in_channels, *in_shape)."""
        pieces = self.cut(x).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(0, 3)
        logits = self.shared(pieces).reshape(-1, self.patches, self.num_classes)
        averaged: torch.Tensor = self.average(logits.transpose(1, 2)).flatten(1)
        return averaged
