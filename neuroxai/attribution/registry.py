"""All attribution methods by name; an unknown name is an `InputError`, whatever is asked."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError, one_of

if TYPE_CHECKING:
    from captum.attr import Attribution
    from torch import nn


@dataclass(frozen=True)
class Method:
    """One entry of the registry."""

    summary: str  # one line
    paper: str  # author, year and venue
    factory: str  # "module:function" that takes the model and keyword options, or makes the composite of LRP of them

    @property
    def relevance(self) -> bool:
        """Whether it is a relevance propagation."""
        return self.factory.startswith(_COMPOSITES)

    @property
    def regional(self) -> bool:
        """Whether it is about the regions of an atlas, which its option ``labels`` gives."""
        return "labels" in self.options()

    def load(self) -> Callable[..., Any]:
        """Import the factory."""
        return pkgutil.resolve_name(self.factory)  # type: ignore[no-any-return]

    def options(self) -> dict[str, Any]:
        """Return the names of its options, with their defaults."""
        known = inspect.signature(self.load()).parameters.values()
        options = (p for p in known if self.relevance or p.kind is p.KEYWORD_ONLY)
        return {p.name: p.default for p in options}


_COMPOSITES = "neuroxai.lrp.composites"
_GRADIENTS = "neuroxai.attribution.gradient.gradients"
_NOISE = "neuroxai.attribution.gradient.noise"
_GRAD_CAM = "neuroxai.attribution.cam.grad_cam"
_CAM = "neuroxai.attribution.cam.variants"
# names that options had before they took captum's
_RENAMED = {"steps": "n_steps", "baseline": "baselines", "noise": "stdevs", "samples": "nt_samples",
            "per_pass": "perturbations_per_eval"}  # fmt: skip
_PLAIN = (bool, int, float, str)
_BACH = "Bach et al. 2015, PLoS ONE 10: e0130140"

# fmt: off
METHODS: dict[str, Method] = {
    "saliency": Method("Absolute gradient of the class score: where a small change would matter.",
        "Simonyan et al. 2014, ICLR workshop, arXiv:1312.6034", f"{_GRADIENTS}:saliency"),
    "gradient_x_input": Method("Gradient times input: first-order contribution of each value.",
        "Shrikumar et al. 2016, arXiv:1605.01713", f"{_GRADIENTS}:gradient_x_input"),
    "guided_backprop": Method("Gradient that only positive signals pass, at each ReLU or ELU.",
        "Springenberg et al. 2015, ICLR workshop, arXiv:1412.6806", f"{_GRADIENTS}:guided_backprop"),
    "integrated_gradients": Method("Gradients averaged from a baseline to the input, times their difference.",
        "Sundararajan et al. 2017, ICML, arXiv:1703.01365", f"{_GRADIENTS}:integrated_gradients"),
    "deep_lift": Method(
        "Differences from a baseline's activations, passed back by the rescale rule; they add up to the score's.",
        "Shrikumar et al. 2017, ICML, arXiv:1704.02685", "neuroxai.attribution.gradient.deep_lift:deep_lift"),
    "gradient_shap": Method("Gradients at random between a baseline and the input, times their difference.",
        "Lundberg & Lee 2017, NeurIPS, arXiv:1705.07874", f"{_NOISE}:gradient_shap"),
    "smooth_grad": Method("Mean gradient over noisy copies of the scan.", "Smilkov et al. 2017, arXiv:1706.03825",
        f"{_NOISE}:smooth_grad"),
    "smooth_grad_squared": Method("Mean squared gradient over noisy copies of the scan.",
        "Hooker et al. 2019, NeurIPS, arXiv:1806.10758", f"{_NOISE}:smooth_grad_squared"),
    "var_grad": Method("Variance of the gradient over noisy copies of the scan.",
        "Adebayo et al. 2018, NeurIPS, arXiv:1810.03292; Seo et al. 2018, arXiv:1806.03000", f"{_NOISE}:var_grad"),
    "grad_cam": Method("The last feature maps with a grid, weighted by their mean gradient; coarse.",
        "Selvaraju et al. 2017, ICCV, arXiv:1610.02391", f"{_GRAD_CAM}:GradCam"),
    "grad_cam_plus_plus": Method("As grad_cam, weighted so that each place that matters counts, however few; coarse.",
        "Chattopadhay et al. 2018, WACV, arXiv:1710.11063", f"{_CAM}:GradCamPlusPlus"),
    "layer_cam": Method("As grad_cam, each cell weighted by its own positive gradient; coarse.",
        "Jiang et al. 2021, IEEE Trans. Image Process. 30: 5875-5888", f"{_CAM}:LayerCam"),
    "hires_cam": Method("Gradient times feature in each cell of the last feature maps with a grid; coarse.",
        "Draelos & Carin 2020, arXiv:2011.08891", f"{_CAM}:HiResCam"),
    "score_cam": Method("As grad_cam, weighted by the class score of the scan that each feature map lets through.",
        "Wang et al. 2020, CVPR workshops, arXiv:1910.01279", f"{_CAM}:ScoreCam"),
    "guided_grad_cam": Method("Guided back-propagation times Grad-CAM.",
        "Selvaraju et al. 2017, ICCV, arXiv:1610.02391", f"{_GRAD_CAM}:GuidedGradCam"),
    "occlusion": Method("Drop of the class score when a patch of the scan is replaced.",
        "Zeiler & Fergus 2014, ECCV, LNCS 8689: 818-833", "neuroxai.attribution.occlusion.occlusion:Occlusion"),
    "region_occlusion": Method("Drop of the class score when a region of an atlas is replaced; needs labels.",
        "Rieke et al. 2018, MLCN/DLF/iMIMIC, LNCS 11038: 24-31",
        "neuroxai.attribution.occlusion.occlusion:RegionOcclusion"),
    "region_swap": Method("Drop of the class score when a region is replaced by a healthy control's; needs labels.",
        "after Chang et al. 2019, ICLR, arXiv:1807.08024", "neuroxai.attribution.occlusion.occlusion:region_swap"),
    "region_shapley": Method("Fair shares of the class score over the regions of an atlas; needs labels.",
        "Shapley 1953; Castro et al. 2009, Computers & Operations Research 36: 1726-1730",
        "neuroxai.attribution.shapley.regions:RegionShapley"),
    "region_lime": Method("A linear model of the class score by which regions of an atlas are kept; needs labels.",
        "Ribeiro et al. 2016, KDD, arXiv:1602.04938", "neuroxai.attribution.shapley.lime:RegionLime"),
    "lrp_zero": Method("Relevance shared in proportion to all contributions.", f"{_BACH}, eq. 56",
        f"{_COMPOSITES}:zero"),
    "lrp_epsilon": Method("Relevance shared in proportion to all contributions; a larger epsilon absorbs weak ones.",
        f"{_BACH}, eq. 58", f"{_COMPOSITES}:epsilon"),
    "lrp_gamma": Method("As lrp_zero, with positive contributions favoured.",
        "Montavon et al. 2019, Explainable AI, LNCS 11700: 193-209", f"{_COMPOSITES}:gamma"),
    "lrp_alpha_beta": Method("Positive and negative contributions shared apart, weighted 1 + beta and beta.",
        f"{_BACH}, eq. 60", f"{_COMPOSITES}:alpha_beta"),
    "lrp_z_plus": Method("Relevance shared among the positive contributions only.",
        "Montavon et al. 2017, Pattern Recognition 65: 211-222, eq. 14", f"{_COMPOSITES}:z_plus"),
    "deep_taylor": Method(
        "Relevance shared by z+, and in the first layer by the scan's bounds (z-box) or the weights (w-square).",
        "Montavon et al. 2017, Pattern Recognition 65: 211-222", f"{_COMPOSITES}:deep_taylor"),
    "lrp_epsilon_plus_flat": Method("Flat in the first layer, z+ in the other convolutions, epsilon in linear layers.",
        "Kohlbrenner et al. 2020, IJCNN, arXiv:1910.09840", f"{_COMPOSITES}:epsilon_plus_flat"),
    "lrp_epsilon_gamma_box": Method(
        "z-box in the first layer (the scan's own bounds), gamma in the other convolutions, epsilon in linear layers.",
        "Montavon et al. 2019, Explainable AI, LNCS 11700: 193-209", f"{_COMPOSITES}:epsilon_gamma_box"),
    "lrp_eitel2019": Method("Epsilon rule as in the multiple sclerosis study: epsilon is .001.",
        "Eitel et al. 2019, NeuroImage: Clinical 24: 102003", f"{_COMPOSITES}:eitel2019"),
    "lrp_boehle2019": Method("Alpha-beta as in the Alzheimer's study's code: BatchNorm passes, biases are ignored.",
        "Boehle et al. 2019, Front. Aging Neurosci. 11: 194", f"{_COMPOSITES}:boehle2019"),
}
# fmt: on


def names() -> tuple[str, ...]:
    """Return the names of all methods, sorted."""
    return tuple(sorted(METHODS))


def describe(name: str) -> str:
    """Return one line on a method, with its paper."""
    method = _method(name)
    return f"{method.summary} ({method.paper})"


def takes_start(name: str) -> bool:
    """Whether a method is a relevance propagation, whose ``attribute`` takes ``start="logit"`` or ``"probability"``."""
    return _method(name).relevance


def takes_regions(name: str) -> bool:
    """Whether a method is about regions of an atlas, its option ``labels``."""
    return _method(name).regional


def takes_baselines(name: str) -> bool:
    """Whether a method measures from a baseline, its option ``baselines``."""
    return "baselines" in _method(name).options()


def complete(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's options with the defaults of those that are not given: the same choices, the same mapping."""
    plain = {option: v for option, v in _method(name).options().items() if v is None or type(v) in _PLAIN}
    return plain | dict(options)


def create(name: str, model: nn.Module, **options: Any) -> Attribution:
    """Make an attribution method for a model.

    Parameters
    ----------
    name : str
        One of `names()`.
    model : torch.nn.Module
        Takes (batch, channels, *spatial) and returns (batch, classes). It is never changed.
    **options
        Options of the method, for example ``beta=1.0`` for ``lrp_alpha_beta``.

    Returns
    -------
    captum.attr.Attribution
        Its ``attribute(inputs, target=...)`` returns a tensor shaped like the inputs. Relevance propagation explains
        the class's logit or its probability, by the rule of the network's last layer; ``start="logit"`` or
        ``"probability"`` says which.

    Raises
    ------
    InputError
        If the name or an option is unknown, or an option's value does not fit.
    UnsupportedLayerError
        If the method cannot explain the network; names the layer.

    Examples
    --------
    >>> import torch, neuroxai
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval()
    >>> method = neuroxai.attribution.create("lrp_alpha_beta", model, beta=1.0)
    >>> method.attribute(torch.rand(1, 1, 2, 2, 2), target=1).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    entry = _method(name)
    allowed = entry.options()
    for option in options:
        if (new := _RENAMED.get(option)) in allowed:
            raise InputError(f"method {name!r}: option {option!r} is called {new!r} now, as in captum; rename it")
        if option not in allowed:
            has = f"its options are: {', '.join(allowed)}" if allowed else "it has no options"
            raise InputError(f"method {name!r} has no option {option!r}; {has}")
    if not entry.relevance:
        return entry.load()(model, **options)
    from neuroxai.lrp import LRP

    return LRP(model, entry.load()(**options))


def _method(name: str) -> Method:
    if name not in METHODS:
        raise one_of("attribution method", name, METHODS)
    return METHODS[name]
