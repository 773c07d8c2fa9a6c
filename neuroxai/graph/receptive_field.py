"""Where the cells of a feature map lie on the network's input: the centres of their receptive fields.

Stretching a coarse map over the whole input puts its cells elsewhere: convolutions without padding never look past the
border, and strided ones with padding lean towards the first voxel. In the Alzheimer's network the outer cells of the
last feature map would be some 20 voxels off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.operations import arguments, describe, is_gate, kind_of
from neuroxai.graph.record import Record

Places = list[NDArray[np.float64]]  # for each axis, the centre of each cell in voxels of the input
_KEEPING = {"norm", "activation", "softmax", "same", "cast", "sum", "product", "power", "cat"}


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution, a pooling or a padding with a constant; one number per axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]  # before the first voxel
    fill: float = 0.0  # what is padded with


def window_of(node: fx.Node) -> Window | None:
    """Return the window that a recorded call slides over its input's grid, or None for any other call."""
    operation, kind = node.meta["operation"], kind_of(node)
    rank = node.meta.get("rank", 0)
    if node.op != "call_function" or rank < 3 or kind not in ("filter", "max", "average", "pad"):
        return None
    axes, given = rank - 2, arguments(node)

    def per_axis(value: Any) -> tuple[int, ...]:
        listed = (value,) * axes if isinstance(value, int) else tuple(int(v) for v in value)
        return listed * axes if len(listed) == 1 else listed

    if operation in ("pad", "constant_pad_nd"):
        pads = given["pad"]
        if given.get("mode", "constant") != "constant" or len(pads) > 2 * axes or min(pads) < 0:
            return None
        before = [*pads[::2], *(0,) * (axes - len(pads) // 2)][::-1]  # the last axis comes first
        one = (1,) * axes
        return Window(one, one, one, tuple(before), float(given.get("value") or 0))
    if operation == f"conv{axes}d":
        kernel = tuple(given["weight"].meta["shape"][2:])
        dilation, padding = per_axis(given.get("dilation", 1)), given.get("padding", 0)
        if isinstance(padding, str):  # of "same", an odd voxel goes behind
            padding = [d * (k - 1) // 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        return Window(kernel, per_axis(given.get("stride", 1)), dilation, per_axis(padding))
    if kind in ("max", "average") and operation in (f"max_pool{axes}d", f"avg_pool{axes}d"):
        kernel, stride = per_axis(given["kernel_size"]), given.get("stride")
        stride = kernel if stride is None or stride == [] or stride == () else per_axis(stride)
        fill = -math.inf if kind == "max" else 0.0
        return Window(kernel, stride, per_axis(given.get("dilation", 1)), per_axis(given.get("padding", 0)), fill)
    return None


def field_centres(record: Record, at: fx.Node, source: fx.Node | None = None) -> Places:
    """Return the centres of the receptive fields of the cells that a call puts out.

    Parameters
    ----------
    record : Record
        The network.
    at : torch.fx.Node
        A call that puts out (batch, channels, *grid), with as many axes as the input.
    source : torch.fx.Node, optional
        The input; the first by default.

    Returns
    -------
    list of ndarray
        One per axis, in voxels; they may lie outside the scan where a layer pads.

    Raises
    ------
    UnsupportedLayerError
        If the place of the cells cannot be followed.
    """
    source = record.inputs[0] if source is None else source
    grid = source.meta["shape"][2:]
    places: dict[fx.Node, Places] = {source: [np.arange(size, dtype=np.float64) for size in grid]}
    lost: dict[fx.Node, Any] = {}
    for node in record.graph.nodes:
        if node is at and node in places:
            break
        if kind_of(node) == "pieces" and places.keys() & set(node.all_input_nodes):
            whole, given = node.all_input_nodes[0], arguments(node)
            if int(given.get("dim", 0)) % whole.meta["rank"] == 1:  # parts of the channels, to be picked from
                places[node] = places[whole]
        cells, reads = node.meta.get("shape", ())[2:], node.all_input_nodes
        if kind_of(node) == "product":  # a gate scales what it is put on, where that lies
            reads = [n for n in reads if not is_gate(n)] or reads
        sources = [places[n] for n in reads if n in places]
        if node is source or len(cells) != len(grid):
            continue
        found: Places = []
        if sources and not any(lost.get(n) == cells for n in reads):
            # a lost value on a grid of its own, such as a channel's gate, does no harm
            same = [centres for centres in sources if tuple(map(len, centres)) == cells]
            keeps = kind_of(node) in _KEEPING or _over_channels(node) or kind_of(reads[0]) == "pieces"
            found = (same or [[]])[0] if keeps else _moved(record, node, sources[0])
        if tuple(map(len, found)) == cells:
            places[node] = found
        elif sources or any(n in lost for n in reads):
            lost[node] = cells
    if at not in places:
        behind = f" behind {describe(next(iter(lost)))}" if lost else ""
        raise UnsupportedLayerError(f"where its cells lie on the scan cannot be followed{behind}")
    return places[at]


def placed(coarse: Tensor, places: Places, shape: Sequence[int]) -> Tensor:
    """Interpolate a map linearly between its cells' places; beyond the outermost cells their values go on.

    Parameters
    ----------
    coarse : torch.Tensor
        (batch, channels, *cells).
    places : list of ndarray
        The cells' places, one array per axis.
    shape : sequence of int
        The grid, one number of voxels per axis.

    Returns
    -------
    torch.Tensor
        (batch, channels, *shape).
    """
    fine = coarse
    for axis, (centres, voxels) in enumerate(zip(places, shape, strict=True), start=2):
        cell = np.interp(np.arange(voxels), centres, np.arange(len(centres)))
        hat = np.maximum(0, 1 - np.abs(cell[:, None] - np.arange(len(centres))))  # (voxels, cells)
        fine = (fine.movedim(axis, -1) @ torch.from_numpy(hat.T).to(coarse)).movedim(-1, axis)
    return fine.contiguous()


def _over_channels(node: fx.Node) -> bool:
    """Whether a call takes a mean, a maximum or a deviation of the channels at each place, or a root of each value."""
    if kind_of(node) not in ("average", "max", "deviation") or window_of(node) is not None:
        return False
    dims, rank = arguments(node).get("dim"), node.meta["rank"]
    if dims is None:
        return node.meta["operation"] in ("sqrt", "rsqrt")
    return all(int(d) % rank == 1 for d in (dims if isinstance(dims, list | tuple) else (dims,)))


def _moved(record: Record, node: fx.Node, source: Places) -> Places:
    """Return the centres of a call's cells of those that it reads; fewer axes where they are not known."""
    found = [_indices(record, node, axis, len(centres)) for axis, centres in enumerate(source)]
    return [_at(centres, index) for centres, index in zip(source, found, strict=True) if index is not None]


def _indices(record: Record, node: fx.Node, axis: int, size: int) -> NDArray[np.float64] | None:
    """Return where a call's cells lie among the `size` cells that it reads along an axis; None if not known."""
    cells = np.arange(node.meta["shape"][2 + axis], dtype=np.float64)
    operation, window = node.meta["operation"], window_of(node)
    if window is not None:
        reach = window.dilation[axis] * (window.kernel[axis] - 1)
        return cells * window.stride[axis] - window.padding[axis] + reach / 2
    if node.op == "call_module":
        layer: Any = record.root.get_submodule(str(node.target))  # a PatchIndividualFilter
        strain = layer.strains[0]
        patch, inside = np.divmod(cells, strain.outputs.patch[axis])
        first = patch * strain.inputs.patch[axis] - strain.before[axis]
        return np.asarray(first + inside * strain.stride[axis] + (layer.kernel_size[axis] - 1) / 2)
    given = arguments(node) if kind_of(node) in ("pad", "filter", "resize") else {}
    if kind_of(node) == "pad":  # of any mode; the last axis comes first
        pads = given["pad"]
        before = 2 * (len(node.meta["shape"]) - 3 - axis)
        return cells - float(pads[before] if before < len(pads) else 0)
    if operation.startswith("conv_transpose"):
        options = (given.get(name, default) for name, default in (("dilation", 1), ("padding", 0), ("stride", 1)))
        dilation, padding, stride = (int(v if isinstance(v, int) else v[axis % len(v)]) for v in options)
        reach = dilation * (int(given["weight"].meta["shape"][2 + axis]) - 1)
        return (cells + padding - reach / 2) / stride
    if kind_of(node) == "resize":
        corners = bool(given.get("align_corners"))
        return np.linspace(0, size - 1, len(cells)) if corners else (cells + 0.5) * size / len(cells) - 0.5
    if operation == "getitem" and isinstance(node.args[1], tuple):
        part = (*node.args[1], *(slice(None),) * (axis + 3))[: axis + 3]
        if all(isinstance(one, slice) and isinstance(one.start, int | None) for one in part):
            return np.asarray(np.arange(size, dtype=np.float64)[part[-1]])
    if operation.startswith("adaptive_"):
        first, behind = cells * size // len(cells), -(-(cells + 1) * size // len(cells))
        return np.asarray((first + behind - 1) / 2)
    return None


def _at(centres: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read centres between cells, and beyond the last ones as far apart as those."""
    if len(centres) == 1:
        return np.full(len(index), centres[0])
    low = np.clip(np.floor(index).astype(int), 0, len(centres) - 2)
    read: NDArray[np.float64] = centres[low] + (index - low) * (centres[low + 1] - centres[low])
    return read
