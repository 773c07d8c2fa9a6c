"""Grad-CAM and guided Grad-CAM on one, two or three axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from neuroxai.attribution.base import Method, Recorded
from neuroxai.attribution.cam.layer import CamLayer, cam_layer
from neuroxai.attribution.gradient.gradients import guided_backprop
from neuroxai.errors import UnsupportedLayerError, one_of, warn
from neuroxai.graph.checks import refuse_quantised
from neuroxai.graph.eval_copy import eval_copy, own_buffers
from neuroxai.graph.execute import call_of
from neuroxai.graph.receptive_field import field_centres, placed
from neuroxai.lrp.given import Given, Inputs, Target, captum_call, with_gradients

Placement = Literal["receptive_fields", "stretch"]
OntoScan = Callable[[Tensor], Tensor]  # brings maps (batch, channels, *cells) to the scan's grid
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class GradCam(Method):
    """Grad-CAM (Selvaraju 2017), up-sampled linearly to the scan's grid.

    The layer is found by default: the last convolution whose output still has a grid of more than one cell, and from
    there the last layer with that same grid, so that its norm, its activation, a residual sum and a gate count in. A
    convolution that makes a gate alone (of attention to places) is left out, and so is one that scores the classes at
    each place, to be pooled: that is a head. Where the last convolution only cuts the patches of a transformer, it is
    the last normalisation of tokens in front of an attention, on the grid of the patches. The coarse map comes with
    ``attribute(..., return_coarse=True)``.

    The paper stretches the coarse map over the whole scan, which puts its cells off their receptive fields where
    convolutions do not pad, or pad and stride (`neuroxai.graph.receptive_field`). Here each cell is put where its
    field's centre is; ``placement="stretch"`` is the paper's.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    layer : str, optional
        Qualified name of another layer.
    relu : bool
        Keep positive values only, as in the paper (eq. 2); False shows what contradicts the class, too.
    placement : {"receptive_fields", "stretch"}
        Put the cells at the centres of their receptive fields, or stretch the map over the scan.

    Raises
    ------
    InputError
        If the model has no layer of that name, or the placement is unknown.
    """

    def __init__(
        self, model: nn.Module, *, layer: str | None = None, relu: bool = True,
        placement: Placement = "receptive_fields",
    ) -> None:  # fmt: skip
        super().__init__(model)
        if placement not in get_args(Placement):
            raise one_of("placement", placement, get_args(Placement))
        known = [name for name, _ in eval_copy(model).named_modules(remove_duplicate=False) if name]
        if layer is not None and layer not in known:
            raise one_of("layer", layer, known)
        self.layer, self.relu, self.placement = layer, relu, placement

    @captum_call
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *,
        return_coarse: bool = False,
    ) -> Any:  # fmt: skip
        """Compute the map of one class; see `neuroxai.attribution.gradient.gradients.GradientMethod.attribute`.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As any method takes them. Each of several inputs is explained by a layer of its own; one without a grid,
            or that does not reach the layer named, gets zeros.
        return_coarse : bool
            Also return the map on the layer's own grid.

        Returns
        -------
        fine : torch.Tensor or tuple of torch.Tensor
            Shaped like `inputs`, same dtype and device; the same in each channel.
        coarse : torch.Tensor
            Only with `return_coarse`: (batch, 1, *grid), one per input.

        Raises
        ------
        InputError
            For inputs or targets that do not fit the network, or a layer without a grid.
        UnsupportedLayerError
            If the network cannot be recorded, or where the layer's cells lie not be followed.

        Warns
        -----
        UserWarning
            If nothing of a map is left, for all of it speaks against the class.
        """
        given = Given.of(self.model, inputs, additional_forward_args, target)
        with with_gradients(given.device):
            given = given.own()
            network = self.recorded(given)
            maps = []  # by a loop: a comprehension is a frame of its own in some Pythons, and a warning counts frames
            for x, source in zip(given.inputs, network.record.inputs, strict=False):
                maps.append(self._map(network, given, x, source))
        fine, coarse = (given.formatted(each) for each in zip(*maps, strict=True))
        return (fine, coarse) if return_coarse else fine

    def _map(self, network: Recorded, given: Given, x: Tensor, source: fx.Node) -> tuple[Tensor, Tensor]:
        """Return the map of one input, on its grid and on the layer's."""
        network = network.of_input(source)
        if x.ndim < 3 and len(given.inputs) > 1:
            return torch.zeros_like(x), torch.zeros_like(x)
        layer = cam_layer(network, x, self.layer)
        if layer.cells is not source and layer.cells not in network.calls:
            return torch.zeros_like(x), torch.zeros_like(x[:, :1])
        shape, count = x.shape[2:], (layer.node.meta.get("shape") or (len(x),))[0]
        if count != len(x):
            raise UnsupportedLayerError(
                f"layer {layer.name!r} puts out {count} feature maps of {len(x)} samples: which cells belong to "
                "which sample is not known; name another layer with layer=, or use another method"
            )

        def onto_scan(coarse: Tensor) -> Tensor:
            if self.placement == "stretch":
                return F.interpolate(coarse, shape, mode=_MODES[len(shape)], align_corners=False)
            try:
                return placed(coarse, field_centres(network.record, layer.cells, source), shape)
            except UnsupportedLayerError as error:
                why = f'layer {layer.name!r}: {error}; use another layer, or placement="stretch"'
                raise UnsupportedLayerError(why) from error

        coarse = self._coarse(network, layer, given, network.record.inputs.index(source), onto_scan)
        if self.relu:
            before, coarse = coarse, coarse.relu()
            if bool((before.flatten(1).any(1) & ~coarse.flatten(1).any(1)).any()):
                warn(
                    f"layer {layer.name!r} speaks against the class in every cell: the map is 0 everywhere; relu=False "
                    "shows what contradicts the class"
                )
        return onto_scan(coarse).expand(x.shape).contiguous(), coarse

    def _coarse(self, network: Recorded, layer: CamLayer, given: Given, place: int, onto_scan: OntoScan) -> Tensor:
        """Return the map of the input at a place on the layer's grid, (batch, 1, *grid), before the ReLU."""
        refuse_quantised(self.model)
        kept, tokens = self._run(network, layer, given)
        chosen = given.chosen(kept[network.record.result])
        (gradient,) = torch.autograd.grad(chosen, kept[layer.node], allow_unused=True, retain_graph=True)
        behind = network.of_input(layer.node)
        if any(node.meta.get("own_gradient") for node in behind.calls):
            copy = eval_copy(self.model)
            own_buffers(copy)
            times = [name for name, _ in network.record.layers]
            names = [name for name, node in network.record.layers if node is layer.node and times.count(name) == 1]
            if any(names):
                gradient = _own_gradient(copy, next(filter(None, names)), given)
                if gradient is None:
                    taken = next(node for node in behind.calls if node.meta.get("own_gradient"))
                    why = (
                        "no gradient comes back from there (torch.no_grad, detach, .data); name a layer behind it with "
                        "layer=, or use score_cam, occlusion or an lrp method, which need none"
                    )
                    raise network.refuse(taken, why)
            else:
                behind.check_gradient(copy, given)
        features = kept[layer.node].detach()
        gradient = torch.zeros_like(features) if gradient is None else gradient
        features, gradient = layer.on_grid(features, tokens), layer.on_grid(gradient, tokens)
        return (self._weights(features, gradient) * features).sum(1, keepdim=True)

    def _weights(self, features: Tensor, gradient: Tensor) -> Tensor:
        """Return what feature maps (batch, channels, *grid) are weighted by: Selvaraju 2017, equation 1."""
        return gradient.mean(tuple(range(2, gradient.ndim)), keepdim=True)

    def _run(self, network: Recorded, layer: CamLayer, given: Given) -> tuple[dict[fx.Node, Any], Tensor | None]:
        """Return what layer and result put out, as leaves of what follows, and which token each cell went into."""

        def leaf(node: fx.Node) -> Any:
            call = call_of(network.record, node)
            return lambda *values: call(*values).detach().requires_grad_(True)

        ends = {layer.node, layer.cells} - set(network.record.inputs)
        keep = ends if layer.embedding is None else {*ends, layer.cells, layer.embedding}
        inputs = [x.detach().requires_grad_(layer.embedding is not None) for x in given.tensors]
        _, kept = network.run(*inputs, replaced={n: leaf(n) for n in ends}, keep=keep, check=True)
        tokens = None if layer.embedding is None else layer.token_of(kept[layer.cells], kept[layer.embedding])
        return kept, tokens


def _own_gradient(copy: nn.Module, name: str, given: Given) -> Tensor | None:
    """Return the gradient that the network itself gives at a layer that runs once, whatever autograd sees of it."""
    leaves: list[Tensor] = []

    def leaf(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_(True))
        return leaves[-1].clone()

    copy.get_submodule(name).register_forward_hook(leaf)
    own = given.each(torch.clone)  # the network may write into them
    return torch.autograd.grad(given.chosen(copy(*own.arguments)), leaves, allow_unused=True)[0]


class GuidedGradCam(Method):
    """Guided back-propagation times Grad-CAM (Selvaraju 2017, section 3.2).

    Takes Grad-CAM's options but for `relu`.
    """

    def __init__(
        self, model: nn.Module, *, layer: str | None = None, placement: Placement = "receptive_fields"
    ) -> None:
        super().__init__(model)
        self._guided, self._cam = guided_backprop(model), GradCam(model, layer=layer, placement=placement)
        self._guided._records = self._cam._records = self._records  # one record serves both

    @captum_call
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Inputs:
        """Compute the attribution of each input value to one class; see `GradientMethod.attribute`."""
        guided = self._guided.attribute(inputs, target, additional_forward_args)
        cam = self._cam.attribute(inputs, target, additional_forward_args)
        if isinstance(guided, Tensor):
            return guided * cam  # type: ignore[no-any-return]
        return tuple(a * b for a, b in zip(guided, cam, strict=True))
