"""Layer-wise relevance propagation as a Captum attribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from neuroxai.errors import InputError
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.concepts import Arrivals, Conditions, Probe, Ranking, check_order, conditioned, masked, ranked
from neuroxai.lrp.each import Hidden, explained_each
from neuroxai.lrp.plan import Plan, fused, make_plan
from neuroxai.lrp.precision import HALF, in_single
from neuroxai.lrp.report import Conservation, Ledger
from neuroxai.lrp.run import Watch, backward, check_own, forward, own_scores
from neuroxai.lrp.shadow import shadow, unwrapped, warn_if_training
from neuroxai.lrp.starts import Neuron, Start, layer_names, numbered
from neuroxai.lrp.targets import Target, checked_input

Beginning = Literal["logit", "probability"]


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

    Attributes
    ----------
    layers : tuple of str
        The layers that relevance reaches, in the order they run, as `attribute` and `rank` take them. A layer that runs
        several times has a name a run ("name", "name:2", ...).

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
        self._plan = numbered(make_plan(shadow(unwrapped(model)), composite))
        self._fused = fused(self._plan)
        self._verified = False
        self.layers = layer_names(self._plan)

    @overload
    def attribute(
        self, inputs: Tensor, target: Target = ..., *, start: Beginning | None = ..., layer: str | None = ...,
        neuron: Neuron = ..., conditions: Conditions = ..., return_layers: Literal[False] = ...,
    ) -> Tensor: ...  # fmt: skip

    @overload
    def attribute(
        self, inputs: Tensor, target: Target = ..., *, start: Beginning | None = ..., layer: str | None = ...,
        neuron: Neuron = ..., conditions: Conditions = ..., return_layers: Literal[True],
    ) -> tuple[Tensor, dict[str, Tensor]]: ...  # fmt: skip

    def attribute(
        self,
        inputs: Tensor,
        target: Target = None,
        *,
        start: Beginning | None = None,
        layer: str | None = None,
        neuron: Neuron = None,
        conditions: Conditions = None,
        return_layers: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Compute the relevance of each input value for one class, or for neurons of a hidden layer.

        Parameters
        ----------
        inputs : torch.Tensor
            (batch, channels, *spatial) or (batch, features), of the model's dtype, finite. A model in float16 or
            bfloat16 is explained in float32 (its weights cast, the model itself left as it is).
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one a sample. May be None (or 0) where the network has one output.
        start : {"probability", "logit"}, optional
            Relevance of the target at the output: its probability (softmax over several outputs, sigmoid of one), as
            the code of Boehle 2019 does and by default, or its logit. A logit below 0 turns the sign of the whole map.
        layer : str, optional
            Start at the output of this layer (one of `layers`) instead: its values are the relevance, and the layers
            behind it, a normalisation among them, are not run (but for the check of the first call). `target` is None.
        neuron : int, tuple of int or dict, optional
            Neurons of `layer`: a channel at all its positions, one neuron (channel, *position), or
            ``{"patch": p, "filter": f}`` of a `PatchIndividualFilter`. None: all neurons.
        conditions : dict of str to int or sequence of int, optional
            Concept relevance (Achtibat 2023): at these layers' outputs only the named channels keep their relevance.
        return_layers : bool
            Also return the relevance of each layer's output, by the layer's qualified name, and of the ``"input"``.

        Returns
        -------
        relevance : torch.Tensor
            Shaped like `inputs`, same device and dtype (float32 for float16 and bfloat16).
        layers : dict of str to torch.Tensor
            Only with `return_layers`; the keys are names of `layers`.

        Raises
        ------
        InputError
            For inputs, targets, layers, neurons or channels that do not fit the network.

        Warns
        -----
        UserWarning
            If the model is in training mode; it is explained as in evaluation mode.
        """
        warn_if_training(self.model)
        begin = Start(target, start, layer, neuron)
        if not return_layers:
            return self._run(inputs, begin, conditions)
        arrivals = Arrivals()
        relevance = self._run(inputs, begin, conditions, arrivals.watch)
        return relevance, {"input": relevance, **dict(reversed(arrivals.found.items()))}

    def attribute_each(
        self, inputs: Tensor, *, layer: str, neurons: Sequence[Neuron] | None = None, conditions: Conditions = None,
    ) -> Iterator[Hidden]:  # fmt: skip
        """Explain many neurons of a hidden layer, one after the other: one way forward, one way back each.

        Parameters
        ----------
        inputs, layer, conditions
            As `attribute` takes them.
        neurons : sequence, optional
            Neurons as `attribute` takes them. None: all there are, patch by patch and filter by filter at a
            `PatchIndividualFilter`, channel by channel at any other layer.

        Yields
        ------
        Hidden
            The neuron, what it put out and its relevance, as `attribute` returns it; memory holds one at a time.

        Raises
        ------
        InputError
            As `attribute`, when the first neuron is asked for.
        """
        warn_if_training(self.model)
        x = checked_input(inputs, self.model, half=True)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            plan, x, output, kept = self._forward(x, Start(layer=layer), conditions)
        # not inside the block: a caller would run in its modes between two neurons
        yield from explained_each(plan, x, output, kept, layer, neurons, unwrapped(self.model))

    def report(
        self, inputs: Tensor, target: Target = None, *, start: Beginning | None = None, layer: str | None = None,
        neuron: Neuron = None, conditions: Conditions = None,
    ) -> Conservation:  # fmt: skip
        """Account for the relevance of an explanation: what each layer passes on, what its bias or rule absorbs.

        Takes what `attribute` takes.
        """
        warn_if_training(self.model)
        books = Ledger()
        return books.closed(self._run(inputs, Start(target, start, layer, neuron), conditions, books.watch))

    def rank(
        self, inputs: Tensor, target: Target = None, *, layer: str, by: Literal["absolute", "signed"] = "absolute",
        start: Beginning | None = None, conditions: Conditions = None,
    ) -> Ranking:  # fmt: skip
        """Rank a layer's channels by the relevance they carry for one class (Achtibat 2023).

        Parameters
        ----------
        inputs, target, start, conditions
            As `attribute` takes them.
        layer : str
            The layer whose channels (axis 1) are ranked, one of `layers`.
        by : {"absolute", "signed"}
            By the size of a channel's summed relevance, or by its value (what speaks for the class first).
        """
        warn_if_training(self.model)
        check_order(by)
        probe = Probe()
        self._run(inputs, Start(target, start), conditions, probe.watch, layer)
        return ranked(layer, probe.relevance, by)

    def _run(
        self, inputs: Tensor, begin: Start, conditions: Conditions, watch: Watch | None = None, probe: str | None = None
    ) -> Tensor:
        """Explain; `watch` sees the way back step by step, or behind the layer `probe` with all else fused."""
        x = checked_input(inputs, self.model, half=True)
        indices = begin.indices(x)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            plan, x, output, kept = self._forward(x, begin, conditions, watch, probe)
            seed = begin.seed(output, indices, plan.link, unwrapped(self.model))
            return backward(plan, kept, seed, x, watch)

    def _forward(
        self, x: Tensor, begin: Start, conditions: Conditions, watch: Watch | None = None, probe: str | None = None
    ) -> tuple[Plan, Tensor, Tensor, dict[str, Any]]:
        """Run the network up to where relevance starts: the plan, its input, its result, what the way back needs."""
        plan, double = self._plan, None
        if x.dtype in HALF:
            x, double = x.float(), in_single(shadow(unwrapped(self.model)))
            plan = numbered(make_plan(double, self.composite))
        whole = plan
        plan = conditioned(begin.cut(plan), conditions)
        plan = plan if probe is None else masked(plan, probe, None)
        if watch is None or probe is not None:
            plan = self._fused if plan is self._plan else fused(plan)
        own = None
        if not self._verified:  # first, while nothing is kept for the way back
            double = shadow(unwrapped(self.model)) if double is None else double
            own = own_scores(double, x[:1])
        output, kept = forward(plan, x)
        if double is not None and not self._verified:
            own = (
                double(x[:1].clone()) if own is None else own
            )  # says what is wrong, where only the plan can take the input
            check_own(output[:1] if begin.layer is None else forward(whole, x[:1])[0], own, whole.link)
            self._verified = True
        return plan, x, output, kept
