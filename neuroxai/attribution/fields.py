"""Where the cells of a feature map lie on the network's input: the centres of their receptive fields.

Stretching a coarse map over the whole input puts its cells elsewhere: convolutions without padding never look past the
border, and strided ones with padding lean towards the first voxel. In the Alzheimer's network the outer cells of the
last feature map would be some 20 voxels off.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from neuroxai.attribution.traced import DROPOUTS, PADDINGS, Interpreter, activation_of, pool_of
from neuroxai.errors import UnsupportedLayerError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import operations as known
from neuroxai.lrp.trace import describe

Places = list[NDArray[np.float64]]  # for each axis, the centre of each cell in voxels of the input
_WINDOWED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
_KEEPING = (*known.INACTIVE, *_NORMS)
_KEEPING_OPERATIONS = {
    *known.NORMS, *known.GATES, *known.CASTS, *known.SAME, *DROPOUTS, "add", "sub", "mul", "div", "neg", "cat",
}  # fmt: skip


def field_centres(graph: fx.Graph, double: nn.Module, x: Tensor, layer: str) -> Places:
    """Return the centres of the receptive fields of a layer's cells.

    Parameters
    ----------
    graph : torch.fx.Graph
        Of the network, from `neuroxai.lrp.trace.trace`.
    double : torch.nn.Module
        Its evaluation-mode double.
    x : torch.Tensor
        (1, channels, *spatial).
    layer : str
        Qualified name of a layer that runs once and puts out a grid.

    Returns
    -------
    list of ndarray
        One an axis, in voxels; they may lie outside the scan where a layer pads.

    Raises
    ------
    UnsupportedLayerError
        If the layer's place cannot be followed.
    """
    run = _Follow(double, graph, x)
    with torch.no_grad():
        run.run(x)
    ends = [node for node in graph.nodes if f"model.{layer}" in _path(node)]
    if not ends or ends[-1] not in run.places:
        lost = f" behind {describe(next(iter(run.lost)), run.submodules)}" if run.lost else ""
        raise UnsupportedLayerError(
            f"layer {layer!r}: where its cells lie on the scan cannot be followed{lost}; use another layer, or "
            'placement="stretch"'
        )
    return run.places[ends[-1]]


def placed(coarse: Tensor, places: Places, shape: torch.Size) -> Tensor:
    """Interpolate a map linearly between its cells' places; beyond the outermost cells their values go on.

    Parameters
    ----------
    coarse : torch.Tensor
        (batch, channels, *cells).
    places : list of ndarray
        The cells' places, one array an axis.
    shape : torch.Size
        The grid, one number of voxels an axis.

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


class _Follow(Interpreter):
    """Runs the network and keeps the places of every value that has a grid."""

    def __init__(self, double: nn.Module, graph: fx.Graph, x: Tensor) -> None:
        super().__init__(double, graph)
        self.ndim = x.ndim
        self.places: dict[fx.Node, Places] = {}
        self.lost: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.ndim == self.ndim:
            grid = result.shape[2:]
            places = self._of(n, grid)
            if places is not None and tuple(map(len, places)) == tuple(grid):
                self.places[n] = places
            elif any(source in self.places or source in self.lost for source in n.all_input_nodes):
                self.lost[n] = grid
        return result

    def _of(self, node: fx.Node, grid: torch.Size) -> Places | None:
        if node.op == "placeholder":
            return [np.arange(size, dtype=np.float64) for size in grid]
        sources = [self.places[n] for n in node.all_input_nodes if n in self.places]
        if not sources or any(self.lost.get(n) == grid for n in node.all_input_nodes):
            return None  # a lost value on a grid of its own, such as a channel's gate, does no harm
        layer: Any = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        pool = pool_of(node, self.submodules)
        if pool is not None:
            layer = SimpleNamespace(
                kernel_size=pool.kernel[-len(grid) :], stride=pool.stride[-len(grid) :],
                padding=pool.padding[-len(grid) :], dilation=pool.dilation[-len(grid) :],
            )  # fmt: skip
        if pool is not None or isinstance(layer, _WINDOWED):
            return [_windows(centres, layer, axis, grid[axis]) for axis, centres in enumerate(sources[0])]
        if isinstance(layer, PatchIndividualFilter):
            return [_patches(centres, layer, axis, grid[axis]) for axis, centres in enumerate(sources[0])]
        if isinstance(layer, PADDINGS):
            return [_padded(centres, layer, axis, grid[axis]) for axis, centres in enumerate(sources[0])]
        keeps = isinstance(layer, _KEEPING) or known.operation(node) in _KEEPING_OPERATIONS
        return sources[0] if keeps or activation_of(node, self.submodules) is not None else None


def _windows(centres: NDArray[np.float64], layer: Any, axis: int, cells: int) -> NDArray[np.float64]:
    size, stride, dilation = (_along(getattr(layer, name, 1), axis) for name in ("kernel_size", "stride", "dilation"))
    reach = dilation * (size - 1)
    padding = 0 if layer.padding == "valid" else reach // 2 if layer.padding == "same" else _along(layer.padding, axis)
    return _at(centres, np.arange(cells, dtype=np.float64) * stride - padding + reach / 2)


def _patches(centres: NDArray[np.float64], layer: PatchIndividualFilter, axis: int, cells: int) -> NDArray[np.float64]:
    strain = layer.strains[0]
    patch, inside = np.divmod(np.arange(cells), strain.outputs.patch[axis])
    first = patch * strain.inputs.patch[axis] - strain.before[axis]
    return _at(centres, first + inside * strain.stride[axis] + (layer.kernel_size[axis] - 1) / 2)


def _padded(centres: NDArray[np.float64], layer: Any, axis: int, cells: int) -> NDArray[np.float64]:
    before = layer.padding[-2 - 2 * axis]  # the last axis comes first
    return _at(centres, np.arange(cells, dtype=np.float64) - before)


def _along(value: Any, axis: int) -> int:
    return int(value[axis]) if isinstance(value, tuple | list) else int(value)


def _at(centres: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read centres between cells, and beyond the last ones as far apart as those."""
    if len(centres) == 1:
        return np.full(len(index), centres[0])
    low = np.clip(np.floor(index).astype(int), 0, len(centres) - 2)
    read: NDArray[np.float64] = centres[low] + (index - low) * (centres[low + 1] - centres[low])
    return read


def _path(node: fx.Node) -> list[str]:
    return [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
