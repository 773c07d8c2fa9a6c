"""Rewrite steps: fold normalisations into the layers before them, and let layers run the pooling behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from neuroxai.lrp.linear import LinearStep
from neuroxai.lrp.operators import Dense, Scale
from neuroxai.lrp.pooling import MaxPool
from neuroxai.lrp.steps import PassStep, PoolStep, Step


def _readers(steps: Iterable[Step]) -> dict[str, list[Step]]:
    readers: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.reads():
            readers.setdefault(name, []).append(step)
    return readers


def fold_norms(steps: list[Step], ranks: Mapping[str, int]) -> list[Step]:
    """Fold each batch normalisation into the convolution or linear layer that alone feeds it.

    Parameters
    ----------
    steps : list of Step
        A network's steps.
    ranks : mapping of str to int
        Number of axes of each value.
    """
    made = {step.name: step for step in steps}
    readers = _readers(steps)
    folded: dict[str, Step] = {}
    gone: set[str] = set()
    for norm in steps:
        if not (isinstance(norm, LinearStep) and isinstance(norm.operator, Scale)):
            continue
        before = made.get(norm.inputs[0])
        fits = isinstance(before, LinearStep) and not isinstance(before.operator, Scale) and before.fixed is None
        if not isinstance(before, LinearStep) or not fits or len(readers[before.name]) != 1:
            continue
        if isinstance(before.operator, Dense) and ranks.get(before.name, 2) > 2:
            continue  # it normalises along axis 1, the layer's outputs stand on the last
        gone.add(before.name)
        folded[norm.name] = replace(before, name=norm.name, fixed=norm.fixed, labels=before.labels + norm.labels)
    # what the normalisation reads is there when it runs, so the two run in its place
    return [folded.get(step.name, step) for step in steps if step.name not in gone]


def fuse_pools(given: Sequence[Step], result: str) -> list[Step]:
    """Let each layer run the max-pooling behind it, so that only the winners are kept; the relevance stays the same.

    Parameters
    ----------
    given : sequence of Step
        A network's steps.
    result : str
        Name of the value that must still be made.
    """
    steps = list(given)
    readers = _readers(steps)
    for first in given:
        if not isinstance(first, LinearStep) or first.rule.bias == "distribute":
            continue
        between: list[PassStep] = []
        at: Step = first
        while at.name != result and len(readers.get(at.name, ())) == 1:
            at = readers[at.name][0]
            if not isinstance(at, PassStep) or at.offset or not at.local:
                break
            between.append(at)
        if isinstance(at, PoolStep) and isinstance(at.pool, MaxPool):
            gone = {first.name, at.name, *(s.name for s in between)}
            whole = replace(first, name=at.name, between=tuple(between), pool=at.pool)
            steps = [whole if s is at else s for s in steps if s is at or s.name not in gone]
    return steps
