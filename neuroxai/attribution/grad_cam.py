"""Grad-CAM and guided Grad-CAM on one, two or three axes."""

from __future__ import annotations

from typing import Literal, overload

import captum.attr
import torch
import torch.nn.functional as F
from captum.attr import Attribution
from torch import Tensor, fx, nn

from neuroxai.attribution.fields import Places, field_centres, placed
from neuroxai.attribution.gradients import GradientMethod, Scores
from neuroxai.attribution.grid_layers import check_name, grid_layer
from neuroxai.attribution.guided import guided_backprop
from neuroxai.errors import UnsupportedLayerError, one_of
from neuroxai.lrp.plan import check_scores
from neuroxai.lrp.shadow import shadow, unwrapped
from neuroxai.lrp.targets import Target, class_scores
from neuroxai.lrp.trace import trace

Placement = Literal["fields", "stretch"]
PLACEMENTS = ("fields", "stretch")
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class GradCam(GradientMethod):
    """Grad-CAM (Selvaraju 2017): a layer's feature maps, weighted by their mean gradient.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    layer : str, optional
        Qualified name of the layer; found by default, see `grad_cam`.
    relu : bool
        Keep positive values only.
    placement : {"fields", "stretch"}
        Where the coarse map's cells are put, see `grad_cam`.
    """

    def __init__(
        self, model: nn.Module, layer: str | None = None, relu: bool = True, placement: Placement = "fields"
    ) -> None:
        super().__init__(model, self._coarse, rewired=lambda double: double)
        if placement not in PLACEMENTS:
            raise one_of("placement", placement, PLACEMENTS)
        if layer is not None:
            check_name(model, layer)
        self.layer, self.relu, self.placement = layer, relu, placement
        self._graph = _graph_of(model) if placement == "fields" else None
        self._found: dict[torch.Size, tuple[str, Places]] = {}  # layer and places, by the inputs' shape

    @overload
    def attribute(self, inputs: Tensor, target: Target = ..., *, return_coarse: Literal[False] = ...) -> Tensor: ...

    @overload
    def attribute(
        self, inputs: Tensor, target: Target = ..., *, return_coarse: Literal[True]
    ) -> tuple[Tensor, Tensor]: ...

    def attribute(
        self, inputs: Tensor, target: Target = None, *, return_coarse: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the map of one class.

        Parameters
        ----------
        inputs : torch.Tensor
            (batch, channels, *spatial), float32 or float64, finite.
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one a sample. May be None (or 0) where the network has one output.
        return_coarse : bool
            Also return the map on the layer's own grid.

        Returns
        -------
        fine : torch.Tensor
            Shaped like `inputs`, same dtype and device; the same in each channel.
        coarse : torch.Tensor
            Only with `return_coarse`: (batch, 1, *grid).

        Raises
        ------
        InputError
            For inputs or targets that do not fit the network, or a layer without a grid.

        Warns
        -----
        UserWarning
            If the model is in training mode; it is explained as in evaluation mode.
        """
        coarse = super().attribute(inputs, target)
        shape = inputs.shape[2:]
        if self.placement == "stretch":
            fine = F.interpolate(coarse, shape, mode=_MODES[len(shape)], align_corners=False)
        else:
            fine = placed(coarse, self._found[inputs.shape[1:]][1], shape)
        fine = fine.expand(inputs.shape).contiguous()
        return (fine, coarse) if return_coarse else fine

    def _coarse(self, scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        if x.shape[1:] not in self._found:
            self._check_double(scores, x)
            name = grid_layer(scores, x, self.layer)
            places = [] if self._graph is None else field_centres(self._graph, scores.network, x[:1], name)
            self._found[x.shape[1:]] = name, places
        layer = scores.network.get_submodule(self._found[x.shape[1:]][0])
        method = captum.attr.LayerGradCam(scores, layer)
        found: Tensor = method.attribute(x, target=target, relu_attributions=self.relu)
        return found

    def _check_double(self, scores: Scores, x: Tensor) -> None:
        """Hold the double, whose activations write into no tensor, against the model as it is."""
        with torch.no_grad():
            ours = scores(x[:1])
            check_scores(ours, class_scores(shadow(unwrapped(self.model))(x[:1].clone())))


def _graph_of(model: nn.Module) -> fx.Graph:
    try:
        return trace(shadow(unwrapped(model)))[0]
    except UnsupportedLayerError as error:
        raise UnsupportedLayerError(f'{error}. Or use grad_cam with placement="stretch"') from error


def grad_cam(
    model: nn.Module, *, layer: str | None = None, relu: bool = True, placement: Placement = "fields"
) -> GradCam:
    """Grad-CAM (Selvaraju 2017), up-sampled linearly to the scan's grid.

    The layer is found by default: the last convolution whose output still has a grid of more than one cell, and from
    there the last layer with that same grid, so that its norm, its activation and a residual sum count in. The coarse
    map comes with ``attribute(..., return_coarse=True)``.

    The paper stretches the coarse map over the whole scan, which puts its cells off their receptive fields where
    convolutions do not pad, or pad and stride (`neuroxai.attribution.fields`). Here each cell is put where its field's
    centre is; ``placement="stretch"`` is the paper's.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    layer : str, optional
        Qualified name of another layer.
    relu : bool
        Keep positive values only, as in the paper (eq. 2); False shows what spoke against the class, too.
    placement : {"fields", "stretch"}
        Put the cells at the centres of their receptive fields, or stretch the map over the scan.

    Raises
    ------
    InputError
        If the model has no layer of that name, or the placement is unknown.
    UnsupportedLayerError
        With ``placement="fields"``, if the network cannot be traced or, when called, the layer not be followed.
    """
    return GradCam(model, layer, relu, placement)


def guided_grad_cam(model: nn.Module, *, layer: str | None = None, placement: Placement = "fields") -> Attribution:
    """Guided back-propagation times Grad-CAM (Selvaraju 2017, section 3.2).

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    layer : str, optional
        Qualified name of Grad-CAM's layer; found by default, see `grad_cam`.
    placement : {"fields", "stretch"}
        Where the coarse map's cells are put, see `grad_cam`.

    Raises
    ------
    InputError
        If the model has no layer of that name.
    UnsupportedLayerError
        If guided back-propagation cannot explain the network.
    """
    return GuidedGradCam(model, layer, placement)


class GuidedGradCam(Attribution):  # type: ignore[misc]  # captum is untyped
    """Guided back-propagation times Grad-CAM; see `guided_grad_cam`."""

    def __init__(self, model: nn.Module, layer: str | None = None, placement: Placement = "fields") -> None:
        super().__init__(model)
        self.model = model
        self._guided, self._cam = guided_backprop(model), GradCam(model, layer, placement=placement)

    def attribute(self, inputs: Tensor, target: Target = None) -> Tensor:
        """Compute the attribution of each input value to one class; see `GradientMethod.attribute`."""
        return self._guided.attribute(inputs, target) * self._cam.attribute(inputs, target)
