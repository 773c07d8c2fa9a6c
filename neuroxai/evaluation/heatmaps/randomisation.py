"""Do maps depend on what the network has learnt? The parameter randomisation test of Adebayo et al. (2018)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Explanation(Protocol):
    """Anything with the `attribute` of `captum.attr.Attribution`."""

    def attribute(self, inputs: Any, target: Any = ...) -> Any:
        """Return a map shaped like the inputs."""


_WINDOW = 7  # voxels along each axis of the window in which structural similarity is measured


@dataclass(frozen=True)
class RandomisationStep:
    """How alike the maps are once a layer, too, has lost what it learnt.

    Attributes
    ----------
    layer : str
        Qualified name of the layer that was randomised last; in a cascade all layers above it are random, too.
    rank_correlation : float
        Mean over the scans; NaN where it is defined for none.
    rank_correlations : tuple of float
        Spearman's rank correlation of each scan's map with the one before; NaN where a map is constant.
    similarity : float or None
        Mean structural similarity over the scans, where it was asked for.
    similarities : tuple of float or None
        Of each scan.
    """

    layer: str
    rank_correlation: float
    rank_correlations: tuple[float, ...]
    similarity: float | None = None
    similarities: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class MapComparison:
    """What of two maps is compared.

    Parameters
    ----------
    mask : torch.Tensor of bool, optional
        Voxels to compare, shape of one input or of its grid; a background of zeros counts as agreement otherwise.
    absolute : bool
        Compare the size of the values, without their sign.
    similarity : bool
        Measure structural similarity, too, in windows of 7 voxels (Wang 2004) on maps divided by their largest size;
        smaller grids have none.
    """

    mask: Tensor | None = None
    absolute: bool = True
    similarity: bool = False


_DEFAULT = MapComparison()


def randomisation_test(
    model: nn.Module,
    explain: Callable[[nn.Module], Explanation],
    inputs: Tensor,
    target: Any = None,
    *,
    layers: Sequence[str] | None = None,
    cascade: bool = True,
    ends: bool = False,
    compare: MapComparison = _DEFAULT,
    seed: int = 0,
) -> list[RandomisationStep]:
    """Randomise a network's layers from the top down and watch whether its maps change (Adebayo 2018).

    A map that stays the same when the network forgets what it learnt does not explain the network. Layers are drawn
    anew as at their initialisation (``reset_parameters``, which also resets running statistics), on a copy; neither the
    model nor torch's random stream is changed. How a layer without that method was initialised is not known (a vision
    transformer's tokens and position embeddings): the values of each of its own parameters are shuffled.

    Parameters
    ----------
    model : torch.nn.Module
        The trained network.
    explain : callable
        Takes a network and returns its attribution method, for example
        ``lambda m: neuroxai.attribution.create("lrp_alpha_beta", m, beta=1.0)``.
    inputs : torch.Tensor
        (batch, channels, *spatial).
    target : int, sequence of int or torch.Tensor, optional
        Class to explain, as `attribute` takes it.
    layers : sequence of str, optional
        Qualified names, in the order to randomise; by default every layer with parameters of its own, the last to run
        first; what a layer that holds others has itself counts as used where it begins.
    cascade : bool
        True: layer by layer, those above stay random. False: each layer alone.
    ends : bool
        Make maps after the first and the last layer only, which costs the same however deep the network is.
    compare : MapComparison
        What of the maps is compared.
    seed : int
        Of the new parameters.

    Returns
    -------
    list of RandomisationStep
        One a layer (or end), in the order of randomisation; ``pandas.DataFrame(steps)`` makes a table.

    Raises
    ------
    InputError
        If a layer is not there or has no parameters of its own, or the mask does not fit.

    References
    ----------
    Adebayo et al. (2018), Sanity checks for saliency maps, NeurIPS, arXiv:1810.03292.
    Sixt et al. (2020), When explanations lie, ICML, arXiv:1912.09818: rules that share positive contributions only (z+,
    deep Taylor) forget the upper layers and change little here.
    """
    import torch

    eval_copy = copy.deepcopy(model).eval()
    chosen = _top_down(eval_copy, inputs) if layers is None else list(layers)
    modules = dict(eval_copy.named_modules(remove_duplicate=False))
    for name in chosen:
        _check_layer(name, modules)
    kept = _selection(compare.mask, inputs)

    def maps() -> NDArray[np.float64]:
        found: NDArray[np.float64] = explain(eval_copy).attribute(inputs, target=target).detach().double().cpu().numpy()
        return np.abs(found) if compare.absolute else found

    before, steps = maps(), []
    devices = sorted({p.device.index for p in eval_copy.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        for number, name in enumerate(chosen):
            original = copy.deepcopy(modules[name].state_dict())
            for generator in [torch.default_generator, *(torch.cuda.default_generators[d] for d in devices)]:
                generator.manual_seed(seed + number)
            _draw_anew(modules[name])
            if not ends or number in (0, len(chosen) - 1):
                steps.append(_compare(name, before, maps(), kept, compare.similarity))
            if not cascade:
                modules[name].load_state_dict(original)
    return steps


def _top_down(eval_copy: nn.Module, inputs: Tensor) -> list[str]:
    """Return the layers with parameters of their own, the last to begin first."""
    import torch

    own = _with_parameters(dict(eval_copy.named_modules()))
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, module in eval_copy.named_modules()
    ]
    with torch.no_grad():
        eval_copy(inputs[:1])
    for handle in handles:
        handle.remove()
    ran = dict.fromkeys(reversed(order))
    # layers whose parameters another one uses, such as the projection of MultiheadAttention, go with that one
    held = {name: next(place for place in _upwards(name) if place in ran) for name in own if name not in ran}
    found = [name for place in ran for name in (place, *(n for n, by in held.items() if by == place)) if name in own]
    if not found:
        raise InputError(f"{type(eval_copy).__name__} has no layer with parameters: there is nothing to randomise")
    return found


def _upwards(name: str) -> Iterator[str]:
    """Yield the names of the layers that hold one, the nearest first; the network itself is ""."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _with_parameters(modules: Mapping[str, nn.Module]) -> list[str]:
    return [name for name, module in modules.items() if any(True for _ in module.parameters(recurse=False))]


def _draw_anew(layer: nn.Module) -> None:
    import torch

    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    with torch.no_grad():
        for values in layer.parameters(recurse=False):
            order = torch.randperm(values.numel(), device="cpu").to(values.device)
            values.copy_(values.flatten()[order].view_as(values))


def _check_layer(name: str, modules: Mapping[str, nn.Module]) -> None:
    has = _with_parameters(modules)
    if name not in has:
        raise InputError(f"layer {name!r} has no parameters of its own or is not there; choose from {', '.join(has)}")


def _selection(mask: Tensor | None, inputs: Tensor) -> NDArray[np.bool_]:
    """Return which values of one input are compared."""
    shape = tuple(inputs.shape[1:])
    if mask is None:
        return np.ones(shape, dtype=bool)
    if tuple(mask.shape) not in (shape, shape[1:]) or not bool(mask.any()):
        raise InputError(
            f"mask has shape {tuple(mask.shape)} and {int(mask.sum())} voxels, expected {shape} or {shape[1:]}, and at "
            "least one voxel"
        )
    return np.broadcast_to(mask.cpu().numpy().astype(bool), shape)


def _compare(
    name: str, before: NDArray[np.float64], after: NDArray[np.float64], kept: NDArray[np.bool_], similarity: bool
) -> RandomisationStep:
    ranks = tuple(_rank_correlation(a[kept], b[kept]) for a, b in zip(before, after, strict=True))
    if not similarity:
        return RandomisationStep(name, _mean(ranks), ranks)
    alike = tuple(_structural(a, b, kept) for a, b in zip(before, after, strict=True))
    return RandomisationStep(name, _mean(ranks), ranks, _mean(alike), alike)


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _structural(a: NDArray[np.float64], b: NDArray[np.float64], kept: NDArray[np.bool_]) -> float:
    """Mean structural similarity over the voxels kept (Wang 2004, eq. 13, uniform windows), of maps scaled to 1."""
    from scipy.ndimage import uniform_filter

    if min(a.shape[1:]) < _WINDOW:
        return math.nan
    size = (1, *[_WINDOW] * (a.ndim - 1))
    a, b = (m / (np.abs(m).max() or 1.0) for m in (a, b))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        filtered: NDArray[np.float64] = uniform_filter(values, size)
        return filtered

    span = 2.0 if min(a.min(), b.min()) < 0 else 1.0
    small, little = (0.01 * span) ** 2, (0.03 * span) ** 2
    x, y = mean(a), mean(b)
    spread_a, spread_b, joint = mean(a * a) - x * x, mean(b * b) - y * y, mean(a * b) - x * y
    index = (2 * x * y + small) * (2 * joint + little) / ((x * x + y * y + small) * (spread_a + spread_b + little))
    return float(index[kept].mean())
