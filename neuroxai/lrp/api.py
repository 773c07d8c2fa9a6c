"""Layer-wise relevance propagation as a Captum attribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from neuroxai.errors import InputError, NeuroxaiError, UnsupportedLayerError, one_of
from neuroxai.graph.checks import check_scores, refuse_quantised
from neuroxai.graph.eval_copy import eval_copy, in_single, unwrapped
from neuroxai.graph.record import Record, record
from neuroxai.lrp.composites import Composite, named_composite
from neuroxai.lrp.concepts import ORDERS, Conditions, Ranking, arrivals, conditioned, masked, probe, ranked
from neuroxai.lrp.conservation import Conservation, ConservationRecorder, total, warn_if_lost
from neuroxai.lrp.given import Given, Inputs, Records, Target, captum_call, with_gradients, without_gradients
from neuroxai.lrp.plan import Plan, Watch, backward, forward, lost, make_plan, own_output, serves_any_batch
from neuroxai.lrp.starts import Neuron, Start, all_neurons, reached, usual_start, warn_if_turned

Beginning = Literal["logit", "probability"] | Tensor | Callable[[Tensor], Tensor]


class NeuronAttribution(NamedTuple):
    """One neuron of a hidden layer and what explains it.

    Attributes
    ----------
    neuron : int, tuple of int, dict or None
        As `LRP.attribute` takes it.
    activation : torch.Tensor
        (batch,): what the neuron put out, summed over its positions; relevance starts from it.
    relevance : torch.Tensor
        Shaped like the inputs.
    """

    neuron: Neuron
    activation: Tensor
    relevance: Tensor


class LRP(Attribution):  # type: ignore[misc]  # captum is untyped
    """Layer-wise relevance propagation (Bach 2015) through any supported network.

    What the network computes is recorded at the first call for each shape of input, by running it once
    (`neuroxai.graph.record`): on one sample, where it keeps samples apart, and batches of any size then share the
    record. Layers without a rule are refused then, before anything is explained. Weights are read at each call. The
    model is never changed, and one instance serves many threads.

    Parameters
    ----------
    model : torch.nn.Module
        Takes (batch, channels, *spatial) or (batch, features) and returns (batch, classes): logits, or probabilities
        by a softmax or sigmoid at its very end, which is looked through.
    composite : Composite, str or dict, optional
        Which layer gets which rule; see `neuroxai.lrp.composites`. A preset by its name or its attribution method's
        (``"zero"``, ``"lrp_zero"``), with options in a dict (``{"epsilon_gamma_box": {"low": 0.0, "high": 1.0}}``); or
        rules by layer type, name or position. By default `composites.epsilon_plus_flat`.

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

    def __init__(self, model: nn.Module, composite: Composite | str | Mapping[Any, Any] | None = None) -> None:
        self.composite = named_composite(composite)
        eval_copy(model)  # refuse what cannot be copied now, not at the first call
        super().__init__(model)
        self.model = model
        self.conserved: float | None = None
        self.usual_start: Literal["logit", "probability"] | None = None  # known once something was explained
        self._records: Records[Plan] = Records(model)
        self._last: Plan | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that relevance reaches, in the order they run, as `attribute` and `rank` take them.

        A layer that runs several times has a name a run ("name", "name:2", ...). Known once a scan was recorded.
        """
        if self._last is None:
            raise InputError("the layers are known once a scan was recorded: call record(inputs) or attribute first")
        return tuple(name for step in reached(self._last) for name in step.labels)

    def __repr__(self) -> str:
        """Name the model and, once something was explained, how much relevance was conserved."""
        share = "" if self.conserved is None else f", of the last start {self.conserved:.1%} arrived at the input"
        return f"LRP({type(unwrapped(self.model)).__name__}, {len(self.composite.rules)} rules{share})"

    def record(self, inputs: Inputs, additional_forward_args: Any = None) -> LRP:
        """Record what the network computes for inputs of this shape, and refuse what has no rule; returns itself."""
        given = Given.of(self.model, inputs, additional_forward_args, half=True)
        with without_gradients(given.device):
            self._forward(given, Start(), None)
        return self

    def start_for(self, shape: Sequence[int]) -> Literal["logit", "probability"]:
        """Return where relevance of a class starts by default for inputs of a shape, by the last layer's rule."""
        first = next(self.model.parameters(), torch.zeros(()))
        zeros = torch.zeros(tuple(shape), dtype=first.dtype, device=first.device)
        given = Given.of(self.model, zeros, half=True, training=True)
        with without_gradients(given.device):
            return usual_start(make_plan(self._recorded(given.in_single(), given.half)[0], self.composite))

    @captum_call
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *,
        start: Beginning | None = None, layer: str | None = None, neuron: Neuron = None, conditions: Conditions = None,
        return_layers: bool = False, return_convergence_delta: bool = False, create_graph: bool = False,
    ) -> Any:  # fmt: skip
        """Compute the relevance of each input value for one class, or for neurons of a hidden layer.

        Parameters
        ----------
        inputs : torch.Tensor or tuple of torch.Tensor
            (batch, channels, *spatial) or (batch, features), of the model's dtype, finite; several where the model
            takes several. A model in float16 or bfloat16 is explained in float32 (its weights cast, the model itself
            left as it is).
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one a sample. May be None (or 0) where the network has one output.
        additional_forward_args : any, optional
            What else the model's forward takes, one value or a tuple; no relevance is returned for it.
        start : {"probability", "logit"}, torch.Tensor or callable, optional
            Initial relevance: the target's probability (softmax over several outputs, sigmoid of one) or logit; by
            default the one with which a logit below 0 turns no signs, as the last layer's rule has it. Or, without
            `target`, the relevance of each output, (batch, classes), or a function that makes it of the logits, such
            as ``lambda z: torch.stack([-z[:, 0], z[:, 1]], 1)`` for the difference of two.
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
        return_convergence_delta : bool
            Also return what was lost, as captum names it: (batch,), initial relevance minus that of the inputs.
        create_graph : bool
            Keep the graph, so that gradients of the relevance by the model's parameters can be taken, for training
            that is guided by relevance. The inputs are constants. What is explained is the model in evaluation mode,
            whatever mode it is in: running statistics of batch normalisation are constants, and are not updated.

        Returns
        -------
        relevance : torch.Tensor or tuple of torch.Tensor
            Shaped like `inputs`, same device and dtype (float32 for float16 and bfloat16).
        layers : dict of str to torch.Tensor
            Only with `return_layers`; the keys are names of `layers`.
        delta : torch.Tensor
            Only with `return_convergence_delta`.

        Raises
        ------
        InputError
            For inputs, targets, layers, neurons or channels that do not fit the network; for half precision with
            `create_graph`.
        UnsupportedLayerError
            With `create_graph`, naming a call whose gradient is not that of what it computes (detached values, autograd
            functions of the user's).

        Warns
        -----
        UserWarning
            If the model is in training mode; it is explained as in evaluation mode. If less than a tenth or more than
            ten times the initial relevance arrives at the inputs
            (`neuroxai.lrp.conservation.ConservationWarning`), once for each `LRP`. If a probability turns signs. But
            for the first none with `create_graph`.
        """
        begin = Start(target, start, layer, neuron)
        layers: dict[str, Tensor] = {}
        watch = arrivals(layers) if return_layers else None
        relevance, delta = self._run(
            inputs, begin, conditions, watch, more=additional_forward_args, create_graph=create_graph
        )
        found: list[Any] = [relevance]
        if return_layers:
            found.append({"input": relevance, **dict(reversed(layers.items()))})
        if return_convergence_delta:
            found.append(delta)
        return tuple(found) if len(found) > 1 else relevance

    def has_convergence_delta(self) -> bool:
        """Tell captum that `attribute` takes `return_convergence_delta`."""
        return True

    def attribute_neurons(
        self, inputs: Tensor, *, layer: str, neurons: Sequence[Neuron] | None = None, conditions: Conditions = None,
    ) -> Iterator[NeuronAttribution]:  # fmt: skip
        """Explain many neurons of a hidden layer, one after the other: one forward pass, one backward pass each.

        Parameters
        ----------
        inputs, layer, conditions
            As `attribute` takes them.
        neurons : sequence, optional
            Neurons as `attribute` takes them. None: all there are, patch by patch and filter by filter at a
            `PatchIndividualFilter`, channel by channel at any other layer.

        Yields
        ------
        NeuronAttribution
            The neuron, what it put out and its relevance, as `attribute` returns it; memory holds one at a time.

        Raises
        ------
        InputError
            As `attribute`, when the first neuron is asked for.
        """
        given = Given.of(self.model, inputs, half=True)
        with without_gradients(given.device):
            plan, given, output, saved = self._forward(given, Start(layer=layer), conditions)
        model = unwrapped(self.model)
        for neuron in all_neurons(model, layer, output.shape[1]) if neurons is None else neurons:
            with without_gradients(given.device):  # a caller between two neurons runs in its own modes
                seed = Start(layer=layer, neuron=neuron).seed(output, given, None, model)
                relevance = backward(plan, dict(saved), seed, given.tensors)[0]
                # a network may stack the patches of each scan in the batch
                activation = seed.reshape(len(given.inputs[0]), -1).sum(1)
            yield NeuronAttribution(neuron, activation, relevance)

    def report(
        self, inputs: Tensor, target: Target = None, *, start: Beginning | None = None, layer: str | None = None,
        neuron: Neuron = None, conditions: Conditions = None,
    ) -> Conservation:  # fmt: skip
        """Account for the relevance of an explanation: what each layer passes on, what its bias or rule absorbs.

        Takes what `attribute` takes.
        """
        recorder = ConservationRecorder(len(inputs) if isinstance(inputs, Tensor) else 1)
        relevance, _ = self._run(inputs, Start(target, start, layer, neuron), conditions, recorder.watch)
        return recorder.closed(relevance)

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
            By the size of a channel's summed relevance, or by its value (what supports the class first).
        """
        if by not in ORDERS:
            raise one_of("order", by, ORDERS)
        found: list[Tensor] = []
        self._run(inputs, Start(target, start), conditions, probe(found), layer)
        return ranked(layer, found[0], by)

    def _run(
        self, inputs: Inputs, begin: Start, conditions: Conditions, watch: Watch | None = None,
        probe: str | None = None, more: Any = None, create_graph: bool = False,
    ) -> tuple[Any, Tensor]:  # fmt: skip
        """Explain; `watch` sees the backward pass step by step, or behind the layer `probe` with all else fused."""
        given = Given.of(self.model, inputs, more, begin.target, half=not create_graph, training=create_graph)
        with (with_gradients if create_graph else without_gradients)(given.device):
            plan, given, output, saved = self._forward(given, begin, conditions, watch, probe)
            if begin.layer is None and begin.start is None:
                begin = replace(begin, start=self.usual_start)
            seed = begin.seed(output, given, plan.activation, unwrapped(self.model))
            if isinstance(begin.start, str) and begin.start == "probability" and not create_graph:
                chosen = given.scores(output).gather(1, given.indices[:, None])
                warn_if_turned(begin.start, str(self.usual_start), chosen)
            relevance = backward(plan, saved, seed, given.tensors, watch)[: len(given.inputs)]
            if not all(bool(torch.isfinite(one).all()) for one in relevance):
                plan, _, _, saved = self._forward(given, begin, conditions)
                raise lost(plan, saved, seed, given.tensors)
            delta = total(seed.reshape(len(given.inputs[0]), -1)) - sum(map(total, relevance))
        if probe is None and not create_graph and not plan.contrasts:
            self._note_conserved(float(total(seed).sum()), float(delta.sum()))
        return given.formatted(relevance, create_graph), delta

    def _note_conserved(self, start: float, lost: float) -> None:
        if start == 0:
            return
        first, self.conserved = self.conserved is None, (start - lost) / start
        if first:
            warn_if_lost(self.conserved)

    def _forward(
        self, given: Given, begin: Start, conditions: Conditions, watch: Watch | None = None, probe: str | None = None
    ) -> tuple[Plan, Given, Tensor, dict[str, Any]]:
        """Run the network up to where relevance starts: the plan, its input, its result, what `backward` needs."""
        whole, found, single = self._records.find(given), None, given.in_single()
        if whole is None:
            found, any_batch = self._recorded(single, given.half)
            whole = make_plan(found, self.composite)
        if torch.is_grad_enabled() and whole.own_gradient:
            raise UnsupportedLayerError(
                f"{whole.own_gradient}: it detaches a value, or an autograd function of the user's runs there, so that "
                "the gradient of the relevance would not be that of what the network computes; write it with "
                "functions of torch that have a gradient, or train without relevance guidance"
            )
        self.usual_start = usual_start(whole)
        plan = conditioned(begin.cut(whole), conditions)
        plan = plan if probe is None else masked(plan, probe, None)
        if watch is None or probe is not None:
            plan = plan.fused
        output, saved = forward(plan, single.tensors)
        if found is not None:  # it is kept once its output was held against the model's
            scores = output if begin.layer is None else forward(whole.fused, single.tensors)[0]
            own = own_output(whole, scores, single.tensors).detach()
            blank = replace(single, inputs=tuple(map(torch.zeros_like, single.inputs)))
            check_scores(
                own[: len(found.output)] if any_batch else own,
                found.output,
                lambda: self._recorded(blank, given.half)[0].output,
            )
            self._records.keep(given, found, whole, any_batch)
            self._last = whole
        return plan, single, output, saved

    def _recorded(self, given: Given, half: bool) -> tuple[Record, bool]:
        """Record one sample where what it did is what any number of them does, which saves memory; else all."""

        def recorded(given: Given) -> Record:
            copy = eval_copy(self.model)
            refuse_quantised(copy)
            return record(in_single(copy) if half else copy, given.arguments)

        if len(given.inputs[0]) > 1 and not given.more:
            try:
                found = recorded(given.sample(0))
                if serves_any_batch(found):
                    return found, True
            except NeuroxaiError:  # it may take this number alone; what is wrong otherwise is told below
                pass
        found = recorded(given)
        return found, not given.more and serves_any_batch(found)
