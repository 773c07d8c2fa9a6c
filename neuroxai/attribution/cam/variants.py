"""Grad-CAM's relatives: maps of the same layer at the same places, by other weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from neuroxai.attribution.base import Recorded, check_option
from neuroxai.attribution.cam.grad_cam import GradCam, OntoScan, Placement
from neuroxai.attribution.cam.layer import CamLayer
from neuroxai.attribution.perturbed import PerturbedModel, at_once
from neuroxai.checks import among, whole
from neuroxai.lrp.given import Given, probabilities
from neuroxai.lrp.starts import STARTS


class GradCamPlusPlus(GradCam):
    """Grad-CAM++ (Chattopadhay 2018, equations 10 and 19): weights that count each cell that matters, however few.

    Takes Grad-CAM's options. The paper's factor exp(score), one number per scan, is left out: it does not change a
    map's shape, and would make one scan's map overshadow the other's. Made for layers behind a ReLU: of features below
    zero a weight's denominator may come near zero. MONAI's ``GradCAMpp`` takes each cell's own feature where the paper
    has the sum over the map; both agree where the gradient is the same at all cells.
    """

    def _weights(self, features: Tensor, gradient: Tensor) -> Tensor:
        axes = tuple(range(2, features.ndim))
        positive = gradient.relu()  # the formula, with g^2 cancelled
        below = 2 + positive * features.sum(axes, keepdim=True)
        return torch.where(below == 0, 0.0, positive / below).sum(axes, keepdim=True)


class LayerCam(GradCam):
    """LayerCAM (Jiang 2021, equations 5 and 6): each cell weighted by its own gradient, where that is positive.

    Takes Grad-CAM's options. Made for shallow layers, too, which ``layer`` names: their maps are finer.
    """

    def _weights(self, features: Tensor, gradient: Tensor) -> Tensor:
        return gradient.relu()


class HiResCam(GradCam):
    """HiResCAM (Draelos 2020): gradient times feature in each cell of the layer, added up over channels.

    Takes Grad-CAM's options, with `relu` False by default: of a network whose linear end reads the layer, flattened or
    averaged, the coarse map then adds up to the score without its bias, so that no cell is shown that it does not use.
    """

    def __init__(
        self, model: nn.Module, *, layer: str | None = None, relu: bool = False,
        placement: Placement = "receptive_fields",
    ) -> None:  # fmt: skip
        super().__init__(model, layer=layer, relu=relu, placement=placement)

    def _weights(self, features: Tensor, gradient: Tensor) -> Tensor:
        return gradient


class ScoreCam(GradCam):
    """Score-CAM (Wang 2020, algorithm 1): feature maps weighted by the score of the scan that each lets through.

    Each feature map, brought to the scan's grid and scaled to 0 to 1, is a mask: the scan times it is run, and the
    softmax of these scores over channels gives the weights. Needs no gradient. A constant map masks nothing and counts
    for nothing.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    layer, relu, placement
        As `neuroxai.attribution.cam.grad_cam.GradCam` takes them.
    score : {"logit", "probability"}
        Which score is taken of a masked scan.
    perturbations_per_eval : int, optional
        Masked scans run at once; by default as many as keep memory small.

    Raises
    ------
    InputError
        If an option does not fit.
    """

    def __init__(
        self, model: nn.Module, *, layer: str | None = None, relu: bool = True,
        placement: Placement = "receptive_fields", score: Literal["logit", "probability"] = "logit",
        perturbations_per_eval: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, layer=layer, relu=relu, placement=placement)
        check_option("score", score, among(STARTS))
        if perturbations_per_eval is not None:
            check_option("perturbations_per_eval", perturbations_per_eval, whole(1))
        self._score, self._many = score, perturbations_per_eval

    def _coarse(self, network: Recorded, layer: CamLayer, given: Given, place: int, onto_scan: OntoScan) -> Tensor:
        kept, tokens = self._run(network, layer, given)
        features = layer.on_grid(kept[layer.node].detach(), tokens)
        with torch.no_grad():
            perturbed, maps = PerturbedModel(self, given, "all"), []
            for number, own in enumerate(torch.split(features, 1)):
                one = given.sample(number)
                one.scores(perturbed.unchanged(one, place)[0])  # refuses what cannot be run
                scores = self._scores(perturbed, one, place, own, onto_scan)
                weights = scores.softmax(0).to(own)
                maps.append((weights.view(1, -1, *[1] * (own.ndim - 2)) * own).sum(1, keepdim=True))
        return torch.cat(maps)

    def _scores(self, network: PerturbedModel, one: Given, place: int, features: Tensor, onto_scan: OntoScan) -> Tensor:
        """Return the score of one sample behind each of its feature maps, (channels,); minus infinity: of no mask."""
        x, found = one.inputs[place], []
        for some in torch.split(features, self._many or at_once(x), 1):
            maps = onto_scan(some)[0][:, None]
            low, high = (end(maps.flatten(1), 1).view(-1, *[1] * (maps.ndim - 1)) for end in (torch.amin, torch.amax))
            masks = (maps - low) / torch.where(high > low, high - low, 1)
            scores = network.run(one, place, x * masks)
            scores = probabilities(scores, network.link) if self._score == "probability" else scores
            flat = (high <= low).flatten()
            found.append(scores[:, int(one.indices)].double().masked_fill(flat, -torch.inf))
        scores = torch.cat(found)
        return torch.zeros_like(scores) if bool(scores.isinf().all()) else scores
