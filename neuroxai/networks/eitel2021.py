"""The published networks of Eitel 2021 (patch-individual filters), by name.

Filters, pooling and hidden layers as in the paper's supplement and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuroxai.errors import one_of
from neuroxai.layers.pif import Overlap
from neuroxai.networks.conv_net import Block, ConvNet, Padding
from neuroxai.networks.patch_net import PatchNet
from neuroxai.networks.pif_net import PifNet


@dataclass(frozen=True)
class _Design:
    """One published network of Eitel 2021: blocks in front of the head, or in front of the patch-individual layer."""

    blocks: tuple[Block, ...]
    hidden: int
    filters: int = 0


_NARROW = (Block(8, pool=3), Block(16, pool=3, stride=2), Block(32), Block(64))
_WIDE = (Block(64, pool=3), Block(64, pool=3, stride=2), Block(64), Block(64))
_NARROW_FULL = (Block(8, pool=3), Block(16, pool=3), Block(32), Block(64))
_WIDE_FULL = (Block(8, pool=3), Block(32, pool=3), Block(64))
_DESIGNS = {
    "reduced": {
        "model_a": _Design((*_NARROW, Block(36, pool=4, stride=2)), 80),
        "model_b": _Design((*_WIDE, Block(36, pool=4, stride=2)), 80),
        "model_a_pif": _Design(_NARROW, 100, 3),
        "model_b_pif": _Design(_WIDE, 100, 3),
    },
    "full": {
        "model_a": _Design((*_NARROW_FULL, Block(64, pool=4, stride=2)), 100),
        "model_b": _Design((*_WIDE_FULL, Block(64, pool=4, stride=3)), 100),
        "model_a_pif": _Design(_NARROW_FULL, 100, 6),
        "model_b_pif": _Design((*_WIDE_FULL[:2], Block(64, pool=3, stride=2)), 100, 6),
    },
}
DESIGNS = ("auto", *_DESIGNS)


def _design(name: str, design: str, in_shape: Sequence[int]) -> _Design:
    if design not in DESIGNS:
        raise one_of(f"design of {name}", design, DESIGNS)
    if design == "auto":  # the published grid that is nearer in number of voxels, on a logarithmic scale
        between = math.sqrt(math.prod((96, 114, 96)) * math.prod((182, 218, 182)))
        design = "reduced" if math.prod(in_shape) < between else "full"
    table = _DESIGNS[design]
    if name not in table:
        raise one_of("network of Eitel 2021", name, table)
    return table[name]


def model_a(
    in_shape: Sequence[int] = (96, 114, 96),
    in_channels: int = 1,
    num_classes: int = 1,
    *,
    design: str = "auto",
    padding: Padding = 0,
    dropout: float = 0.3,
    checkpointing: bool = False,
    name: str = "model_a",
) -> ConvNet:
    """Build model A of Eitel 2021, five convolutions with ELU: 238,997 parameters at (96, 114, 96).

    The study had one design for its 2 mm scans (Alzheimer's disease, 96 x 114 x 96: filters 8, 16, 32, 64, 36; pooling
    after the first, second and fifth; a hidden layer of 80) and one for the 1 mm scans of the UK Biobank (182 x 218 x
    182: filters 8, 16, 32, 64, 64; a hidden layer of 100; 1,303,769 parameters).

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the axes.
    in_channels : int
        Input channels.
    num_classes : int
        Logits; the paper has one.
    design : {"auto", "reduced", "full"}
        The design for 2 mm or for 1 mm; "auto": that whose grid is nearer in number of voxels.
    padding : {0, "same", "auto"}
        The paper's convolutions are valid (0).
    dropout : float
        Channel dropout after each pooling.
    checkpointing : bool
        Less memory in training, more time.
    name : {"model_a", "model_b"}
        Which of the two.
    """
    chosen = _design(name, design, in_shape)
    return ConvNet(
        in_shape,
        chosen.blocks,
        in_channels=in_channels,
        num_classes=num_classes,
        norm=False,
        activation="elu",
        padding=padding,
        hidden=(chosen.hidden,),
        pool_dropout=dropout,
        checkpointing=checkpointing,
        name=name,
    )


def model_b(
    in_shape: Sequence[int] = (96, 114, 96), in_channels: int = 1, num_classes: int = 1, **options: Any
) -> ConvNet:
    """Build model B of Eitel 2021: 499,845 parameters at (96, 114, 96).

    As model A with 64 filters in the first four convolutions; at 1 mm four convolutions of 8, 32, 64, 64 filters
    (787,785 parameters).

    Parameters
    ----------
    in_shape, in_channels, num_classes, **options
        As for `model_a`.
    """
    return model_a(in_shape, in_channels, num_classes, **options, name="model_b")


def model_a_pif(
    in_shape: Sequence[int] = (96, 114, 96),
    in_channels: int = 1,
    num_classes: int = 1,
    *,
    patch_shape: int | Sequence[int] = 5,
    overlap: Overlap = "half",
    design: str = "auto",
    padding: Padding = 0,
    dropout: float = 0.3,
    checkpointing: bool = False,
    name: str = "model_a_pif",
) -> PifNet:
    """Build model A-PIF of Eitel 2021: 259,131 parameters at (96, 114, 96).

    Model A with its last convolution and pooling replaced by a patch-individual filter layer (patches of 5 x 5 x 5, 3
    filters each; at 1 mm 6, 1,348,665 parameters) and a hidden layer of 100.

    Parameters
    ----------
    in_shape, in_channels, num_classes, design, padding, dropout, checkpointing
        As for `model_a`.
    patch_shape : int or sequence of int
        Size of a patch of the last feature map.
    overlap : {"half", "reference", None}
        See `neuroxai.layers.PatchIndividualFilter`; the paper's is "half", its code's "reference".
    name : {"model_a_pif", "model_b_pif"}
        Which of the two.
    """
    chosen = _design(name, design, in_shape)
    return PifNet(
        in_shape,
        chosen.blocks,
        chosen.filters,
        patch_shape,
        overlap=overlap,
        in_channels=in_channels,
        num_classes=num_classes,
        padding=padding,
        hidden=(chosen.hidden,),
        pool_dropout=dropout,
        checkpointing=checkpointing,
        name=name,
    )


def model_b_pif(
    in_shape: Sequence[int] = (96, 114, 96), in_channels: int = 1, num_classes: int = 1, **options: Any
) -> PifNet:
    """Build model B-PIF of Eitel 2021: 519,979 parameters at (96, 114, 96).

    Model B with its last convolution replaced by a patch-individual filter layer (at 1 mm, where it has three
    convolutions in front, 301,895 parameters).

    Parameters
    ----------
    in_shape, in_channels, num_classes, **options
        As for `model_a_pif`.
    """
    return model_a_pif(in_shape, in_channels, num_classes, **options, name="model_b_pif")


def patch_cnn(
    in_shape: Sequence[int] = (96, 114, 96),
    in_channels: int = 1,
    num_classes: int = 1,
    *,
    patches: Sequence[int] = (2, 3, 2),
    padding: Padding = 0,
    dropout: float = 0.4,
    checkpointing: bool = False,
) -> PatchNet:
    """Build the patch-based baseline of Eitel 2021, after Liu et al. 2018.

    2 x 3 x 2 patches go through one network: convolutions of 15, 25, 50 and 50 filters with tanh, max-pooling (3, 2, 2)
    after the first three, a hidden layer of 40; the logits are averaged. The published code draws patches from a
    cropped scan and pools them unevenly; its hidden layer fits no patch size found there, so the pooling and the
    parameter count are ours: 120,001 at (96, 114, 96).

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the axes.
    in_channels : int
        Input channels.
    num_classes : int
        Logits; the paper has one.
    patches : sequence of int
        Patches along the axes.
    padding : {0, "same", "auto"}
        Of the first three convolutions; "same" for coarse grids.
    dropout : float
        Before both linear layers; a quarter of it as channel dropout after each pooling.
    checkpointing : bool
        Less memory in training, more time.
    """
    blocks = (Block(15, pool=3), Block(25, pool=2), Block(50, pool=2), Block(50, padding="same"))
    return PatchNet(
        in_shape,
        blocks,
        patches,
        in_channels=in_channels,
        num_classes=num_classes,
        padding=padding,
        dropout=dropout,
        pool_dropout=dropout / 4,
        checkpointing=checkpointing,
        name="patch_cnn",
    )
