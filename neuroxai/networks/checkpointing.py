"""Train on large grids in little memory: keep a block's input, compute the rest again in the backward pass.

Nearly all memory of these networks goes into the first block, whose activations stand on the full grid. Each block is a
segment of ``torch.utils.checkpoint`` (Chen et al. 2016). The first block's samples are segments of their own where no
batch normalisation ties them together, so that its activations are held for one sample at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Norm = nn.modules.batchnorm._BatchNorm


def run(features: nn.Sequential, x: Tensor, checkpointing: bool) -> Tensor:
    """Run blocks of layers one after the other; the result does not depend on `checkpointing`.

    Parameters
    ----------
    features : Sequential
        Layers; a block begins at each whose name begins with "conv" or "pif".
    x : Tensor
        Input, shape (batch, channels, x, y, z).
    checkpointing : bool
        Whether to keep the blocks' inputs alone for the backward pass.
    """
    if not (checkpointing and torch.is_grad_enabled()):
        result: Tensor = features(x)
        return result
    for number, block in enumerate(_blocks(features)):
        norms = [layer for layer in block if isinstance(layer, Norm)]
        pieces = torch.split(x, 1) if number == 0 and not norms else (x,)
        x = torch.cat([_segment(block, norms, piece) for piece in pieces])
    return x


def _segment(block: nn.Sequential, norms: list[Norm], x: Tensor) -> Tensor:
    result: Tensor = checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(norms))
    )
    return result


@contextlib.contextmanager
def _statistics_kept(norms: list[Norm]) -> Iterator[None]:
    """Let batch normalisation not count the same batch twice while a block is computed again."""
    momenta = [norm.momentum for norm in norms]
    counts = [(c, c.clone()) for c in (norm.num_batches_tracked for norm in norms) if c is not None]
    try:
        for norm in norms:
            norm.momentum = 0.0  # the running statistics stay as they are
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for count, before in counts:
            count.copy_(before)


def _blocks(features: nn.Sequential) -> list[nn.Sequential]:
    blocks: list[list[nn.Module]] = []
    for name, layer in features.named_children():
        if not blocks or name.startswith(("conv", "pif")):
            blocks.append([])
        blocks[-1].append(layer)
    return [nn.Sequential(*block) for block in blocks]
