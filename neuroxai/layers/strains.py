"""One strain of a patch-individual filter layer: patches of a grid, filtered each with weights of its own, put back.

Everything here is linear and holds no weights, and comes with its exact transpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.layers.patches import PatchGrid, join, places, split


def filter_patches(
    patches: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], before: list[int], after: list[int]
) -> Tensor:
    """Convolve each patch with weights of its own.

    One grouped convolution does it: patches side by side on the channel axis are its groups.

    Parameters
    ----------
    patches : Tensor
        Shape (batch, patches, in_channels, *patch).
    weight : Tensor
        Shape (patches, out_channels, in_channels, *kernel).
    bias : Tensor, optional
        Shape (patches, out_channels).
    stride, before, after : list of int
        Stride and zeros before and after, for each axis.

    Returns
    -------
    Tensor
        Shape (batch, patches, out_channels, *output patch).
    """
    axes = len(stride)
    x = patches.flatten(1, 2)
    kernel = weight.flatten(0, 1)
    offsets = bias if bias is None else bias.flatten()
    padding = before
    if before != after:
        sides: list[int] = []
        for axis in range(axes - 1, -1, -1):
            sides += [before[axis], after[axis]]
        x = F.pad(x, sides)
        padding = [0] * axes
    if axes == 1:
        y = F.conv1d(x, kernel, offsets, stride, padding, groups=weight.shape[0])
    elif axes == 2:
        y = F.conv2d(x, kernel, offsets, stride, padding, groups=weight.shape[0])
    else:
        y = F.conv3d(x, kernel, offsets, stride, padding, groups=weight.shape[0])
    return torch.unflatten(y, 1, [weight.shape[0], weight.shape[1]])


def apply_strains(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    strains: list[list[list[int]]],
    places: Tensor,
    reassemble: bool,
) -> Tensor:
    """Cut out, filter, put back for all strains at once; in a form that TorchScript compiles.

    The patches of all strains go through one convolution: an overlap strain has few patches, and a convolution of few
    groups is slow out of proportion.

    Parameters
    ----------
    x, weight, bias : Tensor
        Input and parameters of the layer.
    strains : list of list of list of int
        `Strain.numbers` of each strain.
    places : Tensor
        `places_of` these strains.
    reassemble : bool
        As for the layer.

    Returns
    -------
    Tensor
        The strains' outputs, concatenated on channels if reassembled, on patches otherwise.
    """
    patches = split(x, places, strains)
    y = filter_patches(patches, weight, bias, strains[0][8], strains[0][9], strains[0][10])
    if not reassemble:
        return y.transpose(1, 2)
    joined: list[Tensor] = []
    first = 0
    for numbers in strains:
        count = 1
        for along in numbers[6]:
            count *= along
        joined.append(join(y.narrow(1, first, count), numbers[4], numbers[5], numbers[6], numbers[7]))
        first += count
    return torch.cat(joined, 1)


@dataclass(frozen=True)
class Strain:
    """The patches of one strain of a `PatchIndividualFilter`, without weights: a linear map and its transpose.

    Attributes
    ----------
    inputs, outputs : PatchGrid
        Where patches are taken from and where what comes of them is put.
    stride, before, after : tuple of int
        Of the convolution inside the patches: stride, zeros before and after.
    reassemble : bool
        Whether the output patches are put back on a grid; they stand on an axis of their own otherwise.
    patches : slice
        The strain's part of the layer's weights.
    """

    inputs: PatchGrid
    outputs: PatchGrid
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    reassemble: bool
    patches: slice

    @property
    def numbers(self) -> list[list[int]]:
        """All the geometry as plain lists, for `apply_strains`."""
        grids = [self.inputs.shape, self.inputs.patch, self.inputs.counts, self.inputs.start]
        grids += [self.outputs.shape, self.outputs.patch, self.outputs.counts, self.outputs.start]
        return [list(numbers) for numbers in (*grids, self.stride, self.before, self.after)]

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Filter each patch with weights of its own.

        Parameters
        ----------
        x : Tensor
            Shape (batch, in_channels, *inputs.shape).
        weight : Tensor
            Shape (patches of this strain, any number of output channels, in_channels, *kernel).
        bias : Tensor, optional
            Shape (patches of this strain, output channels).

        Returns
        -------
        Tensor
            Shape (batch, output channels, *outputs.shape) if reassembled, zero where no patch stands;
            (batch, output channels, patches, *outputs.patch) otherwise.

        Raises
        ------
        SpaceError
            If `x` has another grid.
        """
        self.inputs.check(x.shape)
        places = places_of([self]).to(x.device)
        return apply_strains(x, weight, bias, [self.numbers], places, self.reassemble)

    def transpose(self, signal: Tensor, weight: Tensor, input_shape: Sequence[int]) -> Tensor:
        """Apply the transpose of `forward` (without bias).

        Parameters
        ----------
        signal : Tensor
            Shaped like the output of `forward`.
        weight : Tensor
            As for `forward`.
        input_shape : sequence of int
            Shape of the tensor expected, (batch, in_channels, *inputs.shape).

        Returns
        -------
        Tensor
            Shape `input_shape`; zero where no patch reaches.

        Raises
        ------
        SpaceError
            If `input_shape` or `signal` has another grid.
        """
        self.inputs.check(input_shape)
        y = self.outputs.split(signal) if self.reassemble else signal.transpose(1, 2)
        batch, count = y.shape[:2]
        kernel = weight.shape[3:]
        sizes = [n + b + a for n, b, a in zip(self.inputs.patch, self.before, self.after, strict=True)]
        rest = [(size - k) % step for size, k, step in zip(sizes, kernel, self.stride, strict=True)]
        backward = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(kernel) - 1]
        x: Tensor = backward(
            y.flatten(1, 2), weight.flatten(0, 1), None, list(self.stride), 0, output_padding=rest, groups=count
        )
        for axis, (before, size) in enumerate(zip(self.before, self.inputs.patch, strict=True), start=2):
            x = x.narrow(axis, before, size)
        return self.inputs.join(x.reshape(batch, count, -1, *self.inputs.patch))


def places_of(strains: Sequence[Strain]) -> Tensor:
    """Return where in the flattened grid the voxels of all strains' patches stand, see `patches.places`."""
    return places([strain.numbers[:4] for strain in strains])


def strains(
    in_shape: Sequence[int],
    patch: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    overlap: str | None,
    reassemble: bool,
) -> tuple[Strain, ...]:
    """Lay out the plain strain and, with `overlap`, the overlap strain.

    The grid is filled up with zeros at the end of each axis to a multiple of the patch. The overlap strain has one
    patch fewer along each axis, offset by half a patch ("half", rounded down) or by a whole one ("reference"); its
    output stands half an output patch in. Along an axis with one patch there is nowhere to shift: both strains see it.
    """
    shape, size, step = tuple(in_shape), tuple(patch), tuple(stride)
    counts = tuple(-(-n // s) for n, s in zip(shape, size, strict=True))
    before, after = tuple(p[0] for p in padding), tuple(p[1] for p in padding)
    out = tuple((s + b + a - k) // t + 1 for s, b, a, k, t in zip(size, before, after, kernel, step, strict=True))
    whole = tuple(n * o for n, o in zip(counts, out, strict=True))
    zero = (0,) * len(shape)
    plain = PatchGrid(shape, size, counts, zero)
    of_plain = Strain(plain, PatchGrid(whole, out, counts, zero), step, before, after, reassemble, slice(0, len(plain)))
    if overlap is None:
        return (of_plain,)
    fewer = tuple(max(n - 1, 1) for n in counts)
    offset = tuple(0 if n == 1 else s if overlap == "reference" else s // 2 for n, s in zip(counts, size, strict=True))
    place = tuple(0 if n == 1 else o // 2 for n, o in zip(counts, out, strict=True))
    shifted = PatchGrid(shape, size, fewer, offset)
    of_overlap = Strain(
        shifted,
        PatchGrid(whole, out, fewer, place),
        step,
        before,
        after,
        reassemble,
        slice(len(plain), len(plain) + len(shifted)),
    )
    return of_plain, of_overlap
