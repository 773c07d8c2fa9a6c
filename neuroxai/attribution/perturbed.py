"""A network that is run on many changed copies of one scan: in batches where it may be, item by item where not."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from neuroxai.attribution.base import Method, Recorded, Scores
from neuroxai.attribution.occlusion.incremental import Incremental
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.lrp.given import Given, class_scores

AT_ONCE = 2**22  # numbers held at once by default, about: 16 MiB in float32
_ON_CPU = 8  # whole scans a pass, where more are no faster, and hold a thousand times the memory if scans are small


def at_once(x: Tensor) -> int:
    """Return how many copies of a scan run in one pass by default."""
    most = max(AT_ONCE // x.numel(), 1)
    return min(most, _ON_CPU) if x.device.type == "cpu" else most


class PerturbedModel:
    """A model as one call of ``attribute`` runs it: recorded on one sample where that can be, and as it is.

    A network that takes no single sample (a program exported for a larger batch) runs in batches of the size given.
    """

    def __init__(self, method: Method, given: Given, recompute: str) -> None:
        self._method, self._recompute = method, recompute
        self._scores, self._size = Scores(eval_copy(method.model), given), 1
        self._recorded: Recorded | None = None
        self._independent: bool | None = None
        self.link: str | None = None
        self._of_one_scan, why = "", ""
        first = given.sample(0)
        try:
            try:
                self._recorded = method.recorded(first)
            except InputError:
                self._size = len(given.indices)
                if self._size == 1:
                    raise
                why = f"the network takes batches such as the {self._size} scans given alone"
                self._recorded = method.recorded(_repeated(first, self._size))
            self.link, self._of_one_scan = self._recorded.link, self._recorded.record.of_one_scan
        except UnsupportedLayerError:
            runs = (self._run(first, 0, first.inputs[0]) for _ in range(2))
            if recompute == "receptive_field" or not torch.equal(*runs):
                raise  # whole runs serve where the network draws no random numbers
        if self._of_one_scan:
            depends = "what the network computes depends on values taken out of the scan"
            why = f"{self._of_one_scan}: {depends}, so that an occluded scan may take another branch"
        if why and recompute == "receptive_field":
            raise UnsupportedLayerError(f"{why}; use recompute='auto'")

    @property
    def _hidden(self) -> bool:
        """Whether the scores are in front of the network's output, so that a record alone gives them."""
        return self.link not in (None, "average")

    def unchanged(self, one: Given, place: int) -> tuple[Tensor, Incremental | None]:
        """Return one sample's scores, and what runs the network where one of its inputs changes, or None."""
        found = self._recorded
        if found is not None and self._size == 1 and not self._of_one_scan and self._recompute != "all":
            made = Incremental(found, one.tensors, place)
            try:
                found.verify(made.whole_output)
                return class_scores(made.scores), made
            except UnsupportedLayerError:
                if self._recompute == "receptive_field" or self._hidden:
                    raise
                self._recorded = None
        return self.run(one, place, one.inputs[place]), None

    def run(self, one: Given, place: int, items: Tensor) -> Tensor:
        """Return the scores of whole inputs, (items, classes), of which one is replaced by each of several."""
        together = len(items) == self._size == 1
        if not together and (self._size > 1 or not self._hidden):
            together = self._batches(one, place)
        if self._size > 1 and not together:
            raise UnsupportedLayerError(
                f"the network takes batches such as the {self._size} scans given alone, and the scores of one scan "
                "depend on the others; use a gradient method"
            )
        many = len(items) if together and self._size == 1 else self._size
        return torch.cat([self._run(one, place, each) for each in torch.split(items, many)])

    def _run(self, one: Given, place: int, items: Tensor) -> Tensor:
        count, filled = len(items), max(len(items), self._size)
        items = torch.cat([items, items[-1:].expand(filled - count, *items.shape[1:])])  # the network may write into it
        many = _repeated(one, filled)
        many = replace(many, inputs=(*many.inputs[:place], items, *many.inputs[place + 1 :]))
        if not self._hidden or self._recorded is None:
            scores: Tensor = self._scores(*many.arguments)
        else:  # of one scan: each item may take another branch
            recorded = self._method.recorded(many) if self._of_one_scan else self._recorded
            scores, _ = recorded.run(*many.tensors, check=True)
        return scores[:count]

    def _batches(self, one: Given, place: int) -> bool:
        """Whether a sample's scores do not depend on its company or place: held against one of opposite contrast."""
        if self._of_one_scan:
            return False  # it decides for a whole batch at once
        if self._independent is None:
            x = one.inputs[place]
            alone = self._run(one, place, x)
            try:
                both = [self._run(one, place, torch.cat(pair)) for pair in ((x, 1 - x), (1 - x, x))]
                found = torch.cat([both[0][:1], both[1][1:]])
            except (InputError, UnsupportedLayerError):
                found = alone + math.inf
            limit = 1e-5 * float(alone.abs().max()) + 1e-12
            self._independent = bool(((found - alone).abs() <= limit).all())
        return self._independent


def _repeated(one: Given, times: int) -> Given:
    """Return a batch that holds one sample several times."""
    return one.each(lambda v: v.expand(times, *v.shape[1:]) if v.ndim and len(v) == 1 else v)
