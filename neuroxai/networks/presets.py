"""The published networks of Boehle 2019 and Eitel 2019, by name."""

from __future__ import annotations

from collections.abc import Sequence

from neuroxai.networks.conv_net import Block, ConvNet, Padding


def ad_cnn(
    in_shape: Sequence[int] = (193, 229, 193),
    in_channels: int = 1,
    num_classes: int = 2,
    *,
    padding: Padding = 0,
    dropout: float = 0.4,
    checkpointing: bool = False,
) -> ConvNet:
    """Build the Alzheimer's network of Boehle 2019 (also Eitel & Ritter 2019).

    Four blocks of convolution (8, 16, 32, 64 filters), batch norm, ReLU and max-pooling (2, 3, 2, 3), then dropout, a
    hidden layer of 128, dropout and the logits. 728,898 parameters at (193, 229, 193), 89,922 at (96, 114, 96).

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the axes; at least 78 each with valid convolutions, 36 with ``padding="same"``.
    in_channels : int
        Input channels.
    num_classes : int
        Logits; the paper has two.
    padding : {0, "same", "auto"}
        The paper's convolutions are valid (0).
    dropout : float
        Before both linear layers.
    checkpointing : bool
        Less memory in training, more time.
    """
    blocks = (Block(8, pool=2), Block(16, pool=3), Block(32, pool=2), Block(64, pool=3))
    return ConvNet(
        in_shape,
        blocks,
        in_channels=in_channels,
        num_classes=num_classes,
        padding=padding,
        hidden=(128,),
        dropout=dropout,
        checkpointing=checkpointing,
        name="ad_cnn",
    )


def ms_cnn(
    in_shape: Sequence[int] = (96, 114, 96),
    in_channels: int = 1,
    num_classes: int = 1,
    *,
    padding: Padding = 0,
    dropout: float = 0.3,
    checkpointing: bool = False,
) -> ConvNet:
    """Build the multiple-sclerosis network of Eitel 2019.

    Four convolutions of 64 filters with ELU; max-pooling of 3 after the first, second and fourth, each followed by
    channel dropout; one linear layer. 333,889 parameters at (96, 114, 96).

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the axes.
    in_channels : int
        Input channels.
    num_classes : int
        Logits; the paper has one.
    padding : {0, "same", "auto"}
        The paper's convolutions are valid (0).
    dropout : float
        Channel dropout after each pooling.
    checkpointing : bool
        Less memory in training, more time.
    """
    blocks = (Block(64, pool=3), Block(64, pool=3), Block(64), Block(64, pool=3))
    return ConvNet(
        in_shape,
        blocks,
        in_channels=in_channels,
        num_classes=num_classes,
        norm=False,
        activation="elu",
        padding=padding,
        pool_dropout=dropout,
        checkpointing=checkpointing,
        name="ms_cnn",
    )
