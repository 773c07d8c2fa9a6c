"""Rewrite steps: fold normalisations into the layers before them, and let layers run the pooling behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from neuroxai.lrp.linear import LinearStep
from neuroxai.lrp.operators import Scale
from neuroxai.lrp.pooling import MaxPool
from neuroxai.lrp.steps import PassStep, PoolStep, Step


def _readers(steps: Iterable[Step]) -> dict[str, list[Step]]:
    readers: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.reads():
            readers.setdefault(name, []).append(step)
    return readers


def fold_norms(steps: list[Step]) -> list[Step]:
    """Fold each batch normalisation into the convolution or linear layer that alone feeds it."""
    folded: list[Step] = list(steps)
    for norm in steps:
        if not (isinstance(norm, LinearStep) and isinstance(norm.operator, Scale)):
            continue
        index = (
            next(i for i, s in enumerate(folded) if s.name == norm.inputs[0]) if _made(folded, norm.inputs[0]) else -1
        )
        before = folded[index] if index >= 0 else None
        fits = isinstance(before, LinearStep) and not isinstance(before.operator, Scale) and before.norm is None
        if not fits or len(_readers(folded)[norm.inputs[0]]) != 1 or not isinstance(before, LinearStep):
            continue
        folded[index] = replace(before, name=norm.name, norm=norm.module, labels=before.labels + norm.labels)
        folded = [s for s in folded if s.name != norm.name or s is folded[index]]
    return folded


def _made(steps: Sequence[Step], name: str) -> bool:
    return any(s.name == name for s in steps)


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
            if not isinstance(at, PassStep) or at.also_reads or not at.local:
                break
            between.append(at)
        if isinstance(at, PoolStep) and isinstance(at.pool, MaxPool):
            gone = {first.name, at.name, *(s.name for s in between)}
            whole = replace(first, name=at.name, between=tuple(between), pool=at.pool)
            steps = [whole if s is first else s for s in steps if s is first or s.name not in gone]
    return steps
