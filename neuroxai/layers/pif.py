"""The patch-individual filter layer of Eitel et al. 2021."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.fx
from torch import Tensor, nn

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.layers.strains import Strain, apply_strains, places_of, strains

Overlap = Literal["half", "reference"] | None
OVERLAPS = ("half", "reference", None)
torch.fx.wrap("apply_strains")  # torch.fx.symbolic_trace records it as one call


class PatchIndividualFilter(nn.Module):
    """Convolution whose weights are shared inside a patch of the grid, not across patches (Eitel 2021, equation 2).

    The input is filled up with zeros at the end of each axis to a multiple of the patch and cut into patches; each
    patch is convolved with filters of its own, and the results are put back in order. A second strain with filters of
    its own sees patches offset by half a patch (equation 3, rounded down), one fewer along each axis (at least one), so
    that what a border cuts through stands whole in one of the two. Both strains' outputs are concatenated.

    Parameters
    ----------
    spatial_dims : {1, 2, 3}
        Axes of the grid.
    in_channels, out_channels : int
        Channels of the input, filters of each patch.
    in_shape : sequence of int
        The grid. Patches belong to places, so the layer refuses any other grid.
    patch_shape : int or sequence of int
        Size of a patch.
    kernel_size : int or sequence of int
        Size of the filters.
    overlap : {"half", "reference", None}
        "half": the overlap strain of the paper, its output put back where it came from. "reference": that of the
        published code, offset by a whole patch instead, which therefore sees the plain strain's patches again. None: no
        overlap strain. Along an axis with a single patch the overlap patch stands where the plain one does.
    reassemble : bool
        True: output (batch, channels, *grid), where channels are the plain strain's filters, then the overlap
        strain's, the latter zero along the borders. False: output (batch, out_channels, patches, *output patch).
    stride : int or sequence of int
        Stride inside each patch.
    padding : int, sequence of int or "same"
        Zeros around each patch.
    bias : bool
        Whether each patch x filter has a bias.

    Attributes
    ----------
    weight : Parameter
        Shape (patches, out_channels, in_channels, *kernel): plain patches first, then overlap patches, C order.
    bias : Parameter or None
        Shape (patches, out_channels).
    output_shape : tuple of int
        Shape of the output without the batch axis.

    Raises
    ------
    InputError
        For numbers that make no layer.
    SpaceError
        For a patch larger than the grid and, when called, for an input of another grid.

    References
    ----------
    Eitel, Albrecht, Weygandt, Paul, Ritter (2021). Patch individual filter layers in CNNs to harness the spatial
    homogeneity of neuroimaging data. Scientific Reports 11, 24447.

    Examples
    --------
    >>> layer = PatchIndividualFilter(3, 64, 3, in_shape=(10, 13, 10), patch_shape=5, reassemble=False)
    >>> tuple(layer.weight.shape), layer.output_shape
    ((14, 3, 64, 3, 3, 3), (3, 14, 3, 3, 3))
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["strains", "output_shape"]

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        in_shape: Sequence[int],
        patch_shape: int | Sequence[int],
        kernel_size: int | Sequence[int] = 3,
        overlap: Overlap = "half",
        reassemble: bool = True,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Literal["same"] = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise InputError(f"spatial_dims is {spatial_dims!r}, expected 1, 2 or 3")
        if overlap not in OVERLAPS:
            raise one_of("overlap", overlap, map(str, OVERLAPS))
        self.in_channels = _at_least("in_channels", in_channels, 1, 1)[0]
        self.out_channels = _at_least("out_channels", out_channels, 1, 1)[0]
        self.in_shape = _at_least("in_shape", in_shape, spatial_dims, 1, alone=False)
        self.patch_shape = _at_least("patch_shape", patch_shape, spatial_dims, 1)
        self.kernel_size = _at_least("kernel_size", kernel_size, spatial_dims, 1)
        self.stride = _at_least("stride", stride, spatial_dims, 1)
        self.padding = padding if padding == "same" else _at_least("padding", padding, spatial_dims, 0)
        self.spatial_dims = spatial_dims
        self.overlap = overlap
        self.reassemble = bool(reassemble)
        if any(p > n for p, n in zip(self.patch_shape, self.in_shape, strict=True)):
            raise SpaceError(
                f"the patch {self.patch_shape} is larger than the grid {self.in_shape}; use a patch that fits into it"
            )
        self._strains = strains(
            self.in_shape, self.patch_shape, self.kernel_size, self.stride, self._sides(), overlap, self.reassemble
        )
        self._numbers = [strain.numbers for strain in self._strains]
        self.register_buffer("_places", places_of(self._strains), persistent=False)  # follows the layer's device
        self.patches = self._strains[-1].patches.stop
        self.weight = nn.Parameter(torch.empty(self.patches, self.out_channels, self.in_channels, *self.kernel_size))
        if bias:
            self.bias = nn.Parameter(torch.empty(self.patches, self.out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _sides(self) -> tuple[tuple[int, int], ...]:
        """Return the zeros before and after each patch along each axis."""
        if self.padding == "same":
            if any(step != 1 for step in self.stride):
                raise InputError(f"padding 'same' goes with stride 1, got {self.stride}; give the padding as numbers")
            sides = tuple(((k - 1) // 2, k // 2) for k in self.kernel_size)
        else:
            sides = tuple((int(p), int(p)) for p in self.padding)
        reach = tuple(n + b + a for n, (b, a) in zip(self.patch_shape, sides, strict=True))
        if any(k > n for k, n in zip(self.kernel_size, reach, strict=True)):
            raise InputError(
                f"the kernel {self.kernel_size} is larger than the patch {self.patch_shape} with its padding "
                f"({reach}); use a smaller kernel, larger patches or padding='same'"
            )
        return sides

    def reset_parameters(self) -> None:
        """Draw the weights of every patch as ``torch.nn.Conv3d`` draws its own."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def strains(self) -> tuple[Strain, ...]:
        """The plain strain and, with overlap, the overlap strain: geometry without weights."""
        return self._strains

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output without the batch axis."""
        grid = self._strains[0].outputs
        if self.reassemble:
            return (len(self._strains) * self.out_channels, *grid.shape)
        return (self.out_channels, self.patches, *grid.patch)

    def neurons(self, patch: int, filter: int) -> tuple[int | slice, ...]:
        """Return the index of one patch x filter in the output without its batch axis.

        Parameters
        ----------
        patch : int
            Number of the patch: plain patches first, then overlap patches, C order.
        filter : int
            Number of the filter inside the patch, 0 to ``out_channels - 1``.

        Returns
        -------
        tuple of int and slice
            ``output[(slice(None), *index)]`` has the shape (batch, *output patch).

        Raises
        ------
        InputError
            For a number that does not exist.
        """
        for what, number, count in (("patch", patch, self.patches), ("filter", filter, self.out_channels)):
            if not isinstance(number, int) or not 0 <= number < count:
                raise InputError(f"{what} is {number!r}; this layer has {count}, numbered 0 to {count - 1}")
        if not self.reassemble:
            return (filter, patch, *(slice(None),) * self.spatial_dims)
        which = 0 if patch < self._strains[0].patches.stop else 1
        strain = self._strains[which]
        return (which * self.out_channels + filter, *strain.outputs.region(patch - strain.patches.start))

    def forward(self, x: Tensor) -> Tensor:
        """Filter each patch: (batch, in_channels, *in_shape) -> (batch, *output_shape)."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            assert list(x.shape[1:]) == [self.in_channels] + self._numbers[0][0], "wrong channels or grid"
        else:
            self._check(x)
        places: Tensor = self._places  # type: ignore[assignment]
        return apply_strains(x, self.weight, self.bias, self._numbers, places, self.reassemble)

    @torch.jit.unused
    def _check(self, x: Any) -> None:
        if isinstance(x, torch.fx.Proxy) or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            return
        expected = (self.in_channels, *self.in_shape)
        if tuple(x.shape[1:]) != expected:
            raise SpaceError(
                f"PatchIndividualFilter: a tensor of shape {tuple(x.shape)} arrives, expected (batch, "
                f"{', '.join(map(str, expected))}); its patches belong to places, so the grid cannot change: resample "
                "the input or build the layer for its grid"
            )

    def extra_repr(self) -> str:
        """Return what was asked for, and the number of patches."""
        return (
            f"{self.in_channels}, {self.out_channels}, in_shape={self.in_shape}, patch_shape={self.patch_shape}, "
            f"kernel_size={self.kernel_size}, overlap={self.overlap!r}, reassemble={self.reassemble}, "
            f"stride={self.stride}, padding={self.padding!r}, bias={self.bias is not None}, patches={self.patches}"
        )


def _at_least(what: str, value: int | Sequence[int], axes: int, least: int, *, alone: bool = True) -> tuple[int, ...]:
    """Return `value` as one whole number for each axis, none below `least`."""
    expected = f"{axes} whole number{'s' * (axes > 1)} of at least {least}" + " or one for all axes" * (
        axes > 1 and alone
    )
    numbers: tuple[Any, ...]
    try:
        numbers = (value,) * axes if isinstance(value, int) and alone else tuple(value)  # type: ignore[arg-type]
        whole = tuple(int(n) for n in numbers)
    except (TypeError, ValueError):
        raise InputError(f"{what} is {value!r}, expected {expected}") from None
    if len(whole) != axes or whole != numbers or min(whole) < least:
        raise InputError(f"{what} is {value!r}, expected {expected}")
    return whole
