"""What a filter responds to: gradient ascent on the input (Erhan 2009; Eitel 2022 for brain MRI)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from neuroxai.attribution.base import check_option, run_network
from neuroxai.checks import number, whole
from neuroxai.errors import InputError, one_of, warn
from neuroxai.graph.eval_copy import eval_copy, warn_if_training
from neuroxai.lrp.given import with_gradients
from neuroxai.lrp.starts import neuron_index

_START = 0.01  # standard deviation of the noise that the image starts from


@dataclass(frozen=True)
class AscentOptions:
    """How an input is climbed to; the defaults are those of Eitel 2022.

    Attributes
    ----------
    steps : int
        Steps of Adam.
    learning_rate : float
        Of Adam.
    weight_decay : float
        Pull of every voxel towards zero (L2 regularisation, through Adam).
    total_variation : float
        Weight of the mean absolute difference between neighbouring voxels (Mahendran 2015).
    blur : float
        Standard deviation, in voxels, of a Gaussian blur of the image (Yosinski 2015); 0 for none.
    blur_every : int
        Steps between two blurs.
    jitter : int
        The image is shifted by up to that many voxels along each axis before each step, and back again (Mordvintsev
        2015).
    bounds : tuple of float, optional
        Smallest and largest value of a voxel, for example (0, 1).

    Raises
    ------
    InputError
        If an option's value does not fit.
    """

    steps: int = 2000
    learning_rate: float = 0.05
    weight_decay: float = 0.01
    total_variation: float = 0.0
    blur: float = 0.0
    blur_every: int = 4
    jitter: int = 0
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "total_variation", "blur"):
            check_option(name, getattr(self, name), number(0))
        for name, least in (("steps", 1), ("blur_every", 1), ("jitter", 0)):
            check_option(name, getattr(self, name), whole(least))
        if self.bounds is not None and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            raise InputError(f"bounds are {self.bounds!r}; (smallest, largest) is expected")


def visualise(
    model: nn.Module,
    layer: str,
    neuron: int | Sequence[int] | Mapping[str, int],
    in_shape: Sequence[int],
    options: AscentOptions = AscentOptions(),
    *,
    start: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Make an input that excites one filter, or one neuron of it, as much as possible.

    Adam climbs the neuron's value (of a whole filter: its mean over all positions), pulled back by the regularisers.
    The model is not changed, nor is torch's random stream; layers behind the neuron's are not run.

    Parameters
    ----------
    model : torch.nn.Module
        The network, float32 or float64.
    layer : str
        Qualified name of the layer whose output is climbed. Take a convolution rather than the activation behind it: a
        silent activation has no gradient to climb.
    neuron : int, sequence of int or mapping
        A filter, or (filter, *position) for a single neuron; ``{"patch": p, "filter": f}`` at a
        `PatchIndividualFilter`.
    in_shape : sequence of int
        Shape of one input, (channels, *spatial).
    options : AscentOptions
        Steps and regularisers.
    start : torch.Tensor, optional
        Where to start, shape `in_shape`; noise of standard deviation .01 by default.
    seed : int
        Seed of the noise and of the shifts, drawn on the CPU.

    Returns
    -------
    torch.Tensor
        (1, *in_shape), of the model's dtype and on its device.

    Raises
    ------
    InputError
        If the layer, the neuron or the start does not fit, or the ascent diverges.

    Warns
    -----
    UserWarning
        If the neuron has no gradient where the ascent starts; if the model is in training mode.

    References
    ----------
    Erhan et al. (2009), technical report 1341, University of Montreal.
    Eitel, Melkonyan, Ritter (2022), arXiv:2203.13120.
    """
    check_option("seed", seed, whole(0))
    warn_if_training(model)
    value_of = _Neuron(eval_copy(model, inplace=False), layer, neuron)
    like = next((p for p in model.parameters()), torch.empty(0))
    if like.dtype not in (torch.float32, torch.float64):
        raise InputError(f"the model is {like.dtype}; float32 or float64 is expected: model.float()")
    generator = torch.Generator().manual_seed(seed)
    with with_gradients(like.device):
        image = _first(in_shape, start, generator).to(like).requires_grad_(True)
        ascent = torch.optim.Adam([image], lr=options.learning_rate, weight_decay=options.weight_decay)
        reach, axes = options.jitter, tuple(range(2, image.ndim))
        for step in range(options.steps):
            shift = torch.randint(-reach, reach + 1, (len(axes),), generator=generator).tolist()
            value = value_of(image.roll(shift, axes) if reach else image)
            loss = options.total_variation * _variation(image) - value if options.total_variation else -value
            (image.grad,) = torch.autograd.grad(loss, image)
            if step == 0 and not bool(image.grad.any()):
                silent = f"neuron {neuron!r} of layer {layer!r} has no gradient where the ascent starts"
                way_out = "Name the convolution in front of the activation, or give another start"
                warn(f"{silent}: nothing will come of it. {way_out}")
            ascent.step()
            with torch.no_grad():
                if options.blur and (step + 1) % options.blur_every == 0:
                    image.copy_(_blurred(image, options.blur))
                if options.bounds is not None:
                    image.clamp_(*options.bounds)
        if not bool(torch.isfinite(image).all()):
            rate = options.learning_rate
            raise InputError(f"the ascent diverged within {options.steps} steps; take a smaller learning_rate ({rate})")
        return image.detach()


class _Reached(Exception):
    """The layer has run; what lies behind it is not needed."""


class _Neuron:
    """The value of a neuron, or the mean over a filter, of a network's evaluation-mode copy."""

    def __init__(self, copy: nn.Module, layer: str, neuron: Any) -> None:
        modules = dict(copy.named_modules(remove_duplicate=False))
        if layer not in modules or not layer:
            raise one_of("layer", layer, [name for name in modules if name])
        self._copy, self._layer, self._neuron = copy, layer, neuron
        self._out: Any = None
        modules[layer].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, out: Any) -> None:
        self._out = out
        raise _Reached

    def __call__(self, image: Tensor) -> Tensor:
        self._out = None
        with suppress(_Reached):
            run_network(self._copy, (image,))
        if not isinstance(self._out, Tensor):
            kind = "nothing: it does not run" if self._out is None else f"a {type(self._out).__name__}"
            raise InputError(f"layer {self._layer!r} puts out {kind}; one that puts out a tensor is expected")
        index = neuron_index(self._neuron, tuple(self._out.shape[1:]), self._layer, self._copy)
        return self._out[(0, *index)].mean()


def _first(in_shape: Sequence[int], start: Tensor | None, generator: torch.Generator) -> Tensor:
    shape = tuple(in_shape)
    if len(shape) < 1 or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in shape):
        raise InputError(f"in_shape is {in_shape!r}; positive integers (channels, *spatial) are expected")
    if start is None:
        return _START * torch.randn(1, *shape, generator=generator)
    if not isinstance(start, Tensor) or start.shape != shape:
        got = f"shape {tuple(start.shape)}" if isinstance(start, Tensor) else f"type {type(start).__name__}"
        raise InputError(f"start has {got}; a torch.Tensor of shape {shape} is expected")
    if not bool(torch.isfinite(start).all()):
        raise InputError("start holds NaN or infinite values; repair the scan before starting from it")
    return start.detach().clone()[None]


def _variation(image: Tensor) -> Tensor:
    axes = range(2, image.ndim)
    steps = [image.diff(dim=axis).abs().mean() for axis in axes if image.shape[axis] > 1]
    return torch.stack(steps).sum() if steps else image.sum() * 0


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur along each axis in turn by a Gaussian cut at three standard deviations; border values go on outside."""
    axes, reach = tuple(range(2, image.ndim)), max(1, round(3 * sigma))
    blurred = gaussian_filter(image.cpu().numpy(), sigma, mode="nearest", radius=reach, axes=axes)
    return torch.from_numpy(blurred).to(image)
