"""Layer-wise relevance propagation as a Captum attribution."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.eval_copy import HALF, eval_copy, in_single, unwrapped, warn_if_training
from neuroxai.graph.record import record
from neuroxai.lrp.composites import Composite, named_composite
from neuroxai.lrp.concepts import Arrivals, Conditions, Probe, Ranking, check_order, conditioned, masked, ranked
from neuroxai.lrp.each import Hidden, explained_each
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.plan import Plan, check_scores, fused, make_plan, own_output
from neuroxai.lrp.report import Conservation, Ledger
from neuroxai.lrp.run import Watch, backward, forward
from neuroxai.lrp.starts import Neuron, Start, layer_names, numbered
from neuroxai.lrp.targets import Target, checked_input

Beginning = Literal["logit", "probability"]
_MOST_RECORDS = 8  # shapes of input that are kept


class LRP(Attribution):  # type: ignore[misc]  # captum is untyped
    """Layer-wise relevance propagation (Bach 2015) through any supported network.

    What the network computes is recorded at the first call for each shape of input, by running it once
    (`neuroxai.graph.record`); layers without a rule are refused then, before anything is explained. Weights are read
    at each call. The model is never changed, and one instance serves many threads.

    Parameters
    ----------
    model : torch.nn.Module
        Takes (batch, channels, *spatial) or (batch, features) and returns (batch, classes): logits, or probabilities
        by a softmax or sigmoid at its very end, which is looked through.
    composite : Composite, str or dict, optional
        Which layer gets which rule; see `neuroxai.lrp.composites`. A name of a preset, or rules by layer type, name or
        position. By default `composites.epsilon_plus_flat`.

    Raises
    ------
    UnsupportedLayerError
        If the model cannot be copied; when called, naming the layer or operation that has no rule.
    InputError
        If `model` or `composite` is of another kind; when called, if a pattern of the composite matches no layer.

    Examples
    --------
    >>> import torch
    >>> from neuroxai.lrp import LRP, composites
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval()
    >>> LRP(model, composites.alpha_beta(beta=1.0)).attribute(torch.rand(3, 1, 2, 2, 2), target=1).shape
    torch.Size([3, 1, 2, 2, 2])
    """

    def __init__(self, model: nn.Module, composite: Composite | str | Mapping[Any, Rule] | None = None) -> None:
        self.composite = named_composite(composite)
        eval_copy(model)  # refuse what cannot be copied now, not at the first call
        super().__init__(model)
        self.model = model
        self._known: OrderedDict[tuple[Any, ...], _Known] = OrderedDict()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that relevance reaches, in the order they run, as `attribute` and `rank` take them.

        A layer that runs several times has a name a run ("name", "name:2", ...). Known once a scan was recorded.
        """
        if not self._known:
            raise InputError("the layers are known once a scan was recorded: call record(inputs) or attribute first")
        return layer_names(next(reversed(self._known.values())).plan)

    def record(self, inputs: Tensor) -> LRP:
        """Record what the network computes for inputs of this shape, and refuse what has no rule; returns itself."""
        warn_if_training(self.model)
        self._network(checked_input(inputs, self.model, half=True))
        return self

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
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
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
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            plan, x, output, kept = self._forward(x, begin, conditions, watch, probe)
            seed = begin.seed(output, indices, plan.link, unwrapped(self.model))
            return backward(plan, kept, seed, x, watch)

    def _forward(
        self, x: Tensor, begin: Start, conditions: Conditions, watch: Watch | None = None, probe: str | None = None
    ) -> tuple[Plan, Tensor, Tensor, dict[str, Any]]:
        """Run the network up to where relevance starts: the plan, its input, its result, what the way back needs."""
        x = x.clone() if x.is_inference() else x
        known = self._network(x)
        x = x.float() if x.dtype in HALF else x
        plan = conditioned(begin.cut(known.plan), conditions)
        plan = plan if probe is None else masked(plan, probe, None)
        if watch is None or probe is not None:
            plan = known.fused if plan is known.plan else fused(plan)
        if known.output is not None and begin.layer is not None:
            known.verify(forward(known.fused, x)[0], x)
        output, kept = forward(plan, x)
        if known.output is not None:
            known.verify(output, x)
        return plan, x, output, kept

    def _network(self, x: Tensor) -> _Known:
        """Return the plan for inputs of this shape; record the network where there is none yet."""
        model = unwrapped(self.model)
        tensors = (*model.parameters(), *model.buffers())
        key = (x.shape, x.dtype, x.device, tuple(map(id, tensors)))
        known = self._known.get(key)
        if known is None:
            copy = eval_copy(self.model)
            found = record(in_single(copy) if x.dtype in HALF else copy, (x.float() if x.dtype in HALF else x,))
            known = _Known(numbered(make_plan(found, self.composite)), found.output)
            # a record that belongs to this scan, or to weights that were cast, serves this call alone
            if not found.of_one_scan and x.dtype not in HALF:
                self._known[key] = known
                while len(self._known) > _MOST_RECORDS:
                    self._known.popitem(last=False)
        return known


@dataclass
class _Known:
    """What is known of the network for one shape of input.

    Attributes
    ----------
    plan, fused : Plan
        Its steps; the same in less memory.
    output : torch.Tensor or None
        What the model put out, until the plan's output was held against it.
    """

    plan: Plan
    output: Tensor | None
    fused: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.fused = fused(self.plan)

    def verify(self, scores: Tensor, x: Tensor) -> None:
        """Hold the plan's output against the model's own."""
        reference, self.output = self.output, None
        if reference is not None:
            try:
                check_scores(own_output(self.plan, scores, x), reference)
            except UnsupportedLayerError:
                self.output = reference  # the next call is refused, too
                raise
