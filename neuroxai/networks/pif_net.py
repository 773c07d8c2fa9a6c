"""A 3D classifier whose last convolution is a patch-individual filter layer (Eitel et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from neuroxai.layers import PatchIndividualFilter
from neuroxai.layers.pif import Overlap
from neuroxai.networks.conv_net import (
    Block,
    Classifier,
    Padding,
    activation_type,
    checked_shape,
    feature_layers,
    head,
    settled_padding,
)


class PifNet(Classifier):
    """Convolution blocks, one patch-individual filter layer, fully connected layers; the output are logits.

    Layers carry names as those of `ConvNet` do; the patch-individual layer is ``features.pif``.

    Parameters
    ----------
    in_shape : sequence of int
        Voxels along the three axes. The patches belong to places, so the network takes no other grid.
    blocks : sequence of Block
        The convolution blocks in front of the patch-individual layer, first to last.
    filters : int
        Filters of each patch.
    patch_shape : int or sequence of int
        Size of a patch of the last feature map.
    overlap : {"half", "reference", None}
        See `neuroxai.layers.PatchIndividualFilter`.
    reassemble : bool
        Whether the patches are put back on a grid in front of the fully connected layers. The published networks leave
        them apart, which keeps every neuron and adds no zeros.
    in_channels, num_classes, norm, activation, padding, hidden, dropout, pool_dropout, checkpointing, name
        As for `neuroxai.networks.ConvNet`; the patch-individual layer has the same padding and is not normalised.

    Raises
    ------
    SpaceError
        If the last feature map is smaller than a patch; the message names the smallest grid.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        blocks: Sequence[Block],
        filters: int,
        patch_shape: int | Sequence[int] = 5,
        *,
        overlap: Overlap = "half",
        reassemble: bool = False,
        in_channels: int = 1,
        num_classes: int = 1,
        norm: bool = False,
        activation: str = "elu",
        padding: Padding = 0,
        hidden: Sequence[int] = (100,),
        dropout: float = 0.0,
        pool_dropout: float = 0.0,
        checkpointing: bool = False,
        name: str = "PifNet",
    ) -> None:
        super().__init__(in_channels, num_classes, checkpointing, name)
        sizes = (patch_shape,) if isinstance(patch_shape, int) else tuple(patch_shape)
        self.padding = settled_padding(in_shape, blocks, padding, max(sizes))
        self.in_shape = checked_shape(in_shape, blocks, self.padding, name, max(sizes))
        act = activation_type(activation, name)
        layers, (channels, *shape) = feature_layers(
            self.in_shape, blocks, in_channels, act, self.padding, norm, pool_dropout
        )
        pif = PatchIndividualFilter(
            3, channels, filters, shape, patch_shape, overlap=overlap, reassemble=reassemble, padding=self.padding
        )
        layers["pif"] = pif
        layers[f"act{len(blocks) + 1}"] = act()
        self.features = nn.Sequential(layers)
        self.head = head(math.prod(pif.output_shape), hidden, num_classes, act, dropout)
