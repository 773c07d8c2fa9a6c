"""Layer-wise relevance propagation as a Captum attribution."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from neuroxai.errors import InputError, one_of
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.plan import Plan, check_scores, fused, make_plan
from neuroxai.lrp.shadow import shadow, unwrapped, warn_if_training
from neuroxai.lrp.targets import Target, check_target, checked_input, class_scores, out_of_memory, target_indices

STARTS = ("logit", "probability")


class LRP(Attribution):  # type: ignore[misc]  # captum is untyped
    """Layer-wise relevance propagation (Bach 2015) through any supported network.

    The model is traced once, here, so that layers without a rule are refused before anything runs. Its weights are read
    at each call; replaced layers need a new `LRP`. The model is never changed, and one instance serves many threads.

    Parameters
    ----------
    model : torch.nn.Module
        Takes (batch, channels, *spatial) or (batch, features) and returns (batch, classes): logits, or probabilities
        by a softmax or sigmoid at its very end, which is looked through.
    composite : Composite
        Which layer gets which rule; see `neuroxai.lrp.composites`.

    Raises
    ------
    UnsupportedLayerError
        Naming the layer or operation that has no rule.
    InputError
        If `model` or `composite` is of another kind, or a pattern of the composite matches no layer.

    Examples
    --------
    >>> import torch
    >>> from neuroxai.lrp import LRP, composites
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval()
    >>> LRP(model, composites.alpha_beta(beta=1.0)).attribute(torch.rand(3, 1, 2, 2, 2), target=1).shape
    torch.Size([3, 1, 2, 2, 2])
    """

    def __init__(self, model: nn.Module, composite: Composite) -> None:
        if not isinstance(composite, Composite):
            raise InputError(f"composite is {composite!r}; use neuroxai.lrp.composites or Composite(...)")
        super().__init__(model)
        self.model = model
        self.composite = composite
        self._plan = make_plan(shadow(unwrapped(model)), composite)
        self._fused = fused(self._plan)
        self._verified = False

    @overload
    def attribute(
        self,
        inputs: Tensor,
        target: Target = ...,
        *,
        start: Literal["logit", "probability"] = ...,
        return_layers: Literal[False] = ...,
    ) -> Tensor: ...

    @overload
    def attribute(
        self,
        inputs: Tensor,
        target: Target = ...,
        *,
        start: Literal["logit", "probability"] = ...,
        return_layers: Literal[True],
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def attribute(
        self,
        inputs: Tensor,
        target: Target = None,
        *,
        start: Literal["logit", "probability"] = "logit",
        return_layers: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Compute the relevance of each input value for one class.

        Parameters
        ----------
        inputs : torch.Tensor
            (batch, channels, *spatial) or (batch, features), float32 or float64, finite.
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one a sample. May be None (or 0) where the network has one output.
        start : {"logit", "probability"}
            Relevance of the target at the output: its logit, or its probability (softmax over several outputs, sigmoid
            of one), as the code of Boehle 2019 does.
        return_layers : bool
            Also return the relevance of each layer's output, by the layer's qualified name, and of the ``"input"``.

        Returns
        -------
        relevance : torch.Tensor
            Shaped like `inputs`, same dtype and device.
        layers : dict of str to torch.Tensor
            Only with `return_layers`. A layer that runs several times has an entry a run ("name", "name:2", ...).

        Raises
        ------
        InputError
            For inputs or targets that do not fit the network.

        Warns
        -----
        UserWarning
            If the model is in training mode; it is explained as in evaluation mode.
        """
        if start not in STARTS:
            raise one_of("start", start, STARTS)
        warn_if_training(self.model)
        x = checked_input(inputs, self.model)
        indices = target_indices(target, len(x), x.device)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            plan = self._plan if return_layers else self._fused
            output, kept = _forward(plan, x)
            scores = class_scores(output)
            check_target(target, indices, scores.shape[1])
            self._verify(x, output, plan.link)
            seed = _seed(scores, indices, start, plan.link).reshape(output.shape)
            relevance, layers = _backward(plan, kept, seed, x, return_layers)
        return (relevance, layers) if return_layers else relevance

    def _verify(self, x: Tensor, output: Tensor, link: str | None) -> None:
        """On the first call, hold the output against the model's own."""
        if self._verified:
            return
        own = shadow(unwrapped(self.model))(x[:1].clone())
        ours = output[:1].reshape(own.shape)
        if link is not None:  # compare behind the probabilities, whichever form the network gives them
            own, ours = own.exp() if bool((own < 0).any()) else own, _probabilities(class_scores(ours), link)
            ours = ours.reshape(own.shape)
        check_scores(ours, own)
        self._verified = True


def _forward(plan: Plan, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Run all steps; values that nobody reads again are let go."""
    values: dict[str, Any] = {plan.source: x}
    nonnegative = {plan.source: bool((x >= 0).all())}
    last = {name: index for index, step in enumerate(plan.steps) for name in step.reads()}
    kept: dict[str, Any] = {}
    for index, step in enumerate(plan.steps):
        signs = [nonnegative[name] for name in step.inputs]
        try:
            values[step.name], kept[step.name] = step.forward(values, signs)
        except InputError as error:
            raise InputError(f"layer {step.labels[0]!r}: {error}") from error
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            shapes = ", ".join(str(tuple(values[name].shape)) for name in step.inputs)
            raise InputError(f"layer {step.labels[0]!r} cannot take a tensor of shape {shapes}: {error}") from error
        nonnegative[step.name] = step.nonnegative(signs)
        for name in step.reads():
            if last[name] == index and name != plan.result:
                values.pop(name, None)
    return values[plan.result], kept


def _backward(
    plan: Plan, kept: dict[str, Any], seed: Tensor, x: Tensor, return_layers: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Take the relevance back step by step, adding up where a value was read several times."""
    relevance: dict[str, Tensor] = {plan.result: seed}
    layers: dict[str, Tensor] = {}
    for step in reversed(plan.steps):
        arrived, own = relevance.pop(step.name, None), kept.pop(step.name)
        if arrived is None:
            continue
        if return_layers:
            for name in step.labels:
                layers[name] = arrived
        for name, share in zip(step.inputs, step.backward(own, arrived), strict=True):
            relevance[name] = relevance[name] + share if name in relevance else share
    found = relevance.get(plan.source)
    result = torch.zeros_like(x) if found is None else found.contiguous()
    if return_layers:
        layers["input"] = result
        layers = dict(reversed(layers.items()))
    return result, layers


def _probabilities(scores: Tensor, link: str | None) -> Tensor:
    sigmoid = link == "sigmoid" or (link is None and scores.shape[1] == 1)
    return scores.sigmoid() if sigmoid else scores.softmax(1)


def _seed(scores: Tensor, indices: Tensor, start: str, link: str | None) -> Tensor:
    """Return relevance at the output, (batch, classes): zero but for each sample's target."""
    values = scores if start == "logit" else _probabilities(scores, link)
    return torch.zeros_like(scores).scatter_(1, indices[:, None], values.gather(1, indices[:, None]))
