"""What all methods here share: captum's way of being called, and an evaluation-mode copy of the model.

The copy shares the parameters but has its own hooks and training flags, so that nothing reaches the model, BatchNorm's
running statistics never move, and one instance serves many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import captum.attr
from torch import Tensor, nn

from neuroxai.attribution.recorded import Recorded
from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.graph.checks import exported, out_of_memory
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.lrp.given import Given, Records


class Method(captum.attr.Attribution):  # type: ignore[misc]  # captum is untyped
    """An attribution method that leaves the model as it is.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    """

    def __init__(self, model: nn.Module) -> None:
        eval_copy(model)  # refuse what cannot be copied now, not at the first call
        super().__init__(model)
        self.model = model
        self._records: Records[Recorded] = Records(model)

    def recorded(self, given: Given) -> Recorded:
        """Return what the network does with inputs of this shape; recorded once, weights are read at each run."""
        return Recorded.of(eval_copy(self.model), given, self._records)


class Scores(nn.Module):
    """The scores of a copy, (batch, classes), with the target held against their number."""

    def __init__(self, copy: nn.Module, given: Given) -> None:
        super().__init__()
        self.network, self._given = copy, given

    def forward(self, *args: Any) -> Tensor:
        """Return the scores."""
        batch = len(args[0])
        scores = self._given.scores(run_network(self.network, args))
        if len(scores) != batch:
            raise InputError(f"the network makes {len(scores)} scores of {batch} samples; (batch, classes) is expected")
        return scores


def run_network(network: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Run a network; what it cannot take is an error of the input."""
    try:
        return network(*args)
    except NeuroxaiError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(x.shape)) for x in args if isinstance(x, Tensor))
        raise InputError(f"the network cannot take an input of shape {shapes}: {error}{exported(network)}") from error
