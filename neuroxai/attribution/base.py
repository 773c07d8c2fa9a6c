"""What all methods here share: captum's way of being called, an evaluation-mode copy of the model, checks of options.

The copy shares the parameters but has its own hooks and training flags, so that nothing reaches the model, BatchNorm's
running statistics never move, and one instance serves many threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from neuroxai.attribution.recorded import Recorded
from neuroxai.checks import Check
from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.graph.checks import exported, out_of_memory
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.lrp.given import Given, Records

Baselines = float | Tensor | tuple[float | Tensor, ...]
MOST = 100_000  # passes of a network for one scan: days


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
        own = [v.clone() if isinstance(v, Tensor) else v for v in args]  # the network may write into them
        scores = self._given.scores(run_network(self.network, own))
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


def check_option(name: str, value: object, check: Check) -> None:
    """Refuse an option's value that is not what `neuroxai.checks` says.

    Raises
    ------
    InputError
        Naming the option.
    """
    fits, expected = check
    if not fits(value):
        raise InputError(f"{name} is {value!r}; {expected} is expected")


def check_baselines(baselines: object) -> None:
    """Refuse baselines that are neither finite numbers nor finite images.

    Raises
    ------
    InputError
        Saying what is expected.
    """
    expected = "a finite number or one image as a torch.Tensor (channels, *spatial) is expected"
    for one in baselines if isinstance(baselines, tuple) else (baselines,):
        if isinstance(one, Tensor):
            if not bool(torch.isfinite(one).all()):
                raise InputError(f"baselines of shape {tuple(one.shape)} hold NaN or infinite values; {expected}")
        elif not isinstance(one, int | float) or isinstance(one, bool) or not math.isfinite(one):
            raise InputError(f"baselines are {one!r}; {expected}")


def baselines_for(inputs: Sequence[Tensor], baselines: Baselines) -> tuple[Tensor, ...]:
    """Return the baseline of each input of a batch, shaped like it.

    Raises
    ------
    InputError
        If an image does not have the inputs' channels and grid.
    """
    each = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
    if len(each) != len(inputs):
        raise InputError(f"baselines are {len(each)} for {len(inputs)} inputs; one per input is expected")
    for x, one in zip(inputs, each, strict=True):
        if isinstance(one, Tensor) and one.shape != x.shape[1:]:
            raise InputError(
                f"baselines have shape {tuple(one.shape)}; the inputs' channels and grid {tuple(x.shape[1:])} are "
                "expected"
            )
    return tuple(
        one.detach().to(x).expand_as(x).clone() if isinstance(one, Tensor) else torch.full_like(x.detach(), float(one))
        for x, one in zip(inputs, each, strict=True)
    )
