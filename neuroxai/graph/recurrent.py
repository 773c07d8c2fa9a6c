"""Recurrent layers opened up into the steps of their cells, written from the documented formulas of torch 2.13.

The weights of the input and of the state stand side by side, as one linear layer of both: relevance is shared out
among all that a cell reads. Gates are sigmoids, which only scale: of their products the signal takes all (Arras 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = tuple[Tensor, ...]  # what goes on to the next step; the output first
_Cell = Callable[..., State]  # takes what it reads, its state, and its weights


def _linear(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor | None, b_h: Tensor | None) -> Tensor:
    bias = None if b_x is None or b_h is None else b_x + b_h
    return F.linear(torch.cat([x, h], -1), torch.cat([w_x, w_h], 1), bias)


def _lstm(
    x: Tensor, state: State, w_x: Tensor, w_h: Tensor, b_x: Any = None, b_h: Any = None, w_out: Any = None
) -> State:
    before, kept = state
    enters, stays, new, leaves = _linear(x, before, w_x, w_h, b_x, b_h).chunk(4, -1)
    kept = stays.sigmoid() * kept + enters.sigmoid() * new.tanh()
    h = leaves.sigmoid() * kept.tanh()
    return h if w_out is None else F.linear(h, w_out), kept


def _gru(x: Tensor, state: State, w_x: Tensor, w_h: Tensor, b_x: Any = None, b_h: Any = None) -> State:
    (before,), size = state, 2 * len(w_x) // 3
    first = [None if b is None else b[:size] for b in (b_x, b_h)]
    last = [None if b is None else b[size:] for b in (b_x, b_h)]
    resets, stays = _linear(x, before, w_x[:size], w_h[:size], *first).sigmoid().chunk(2, -1)
    new = (F.linear(x, w_x[size:], last[0]) + resets * F.linear(before, w_h[size:], last[1])).tanh()
    return ((1 - stays) * new + stays * before,)


def _plain(activation: Callable[[Tensor], Tensor]) -> _Cell:
    def cell(x: Tensor, state: State, w_x: Tensor, w_h: Tensor, b_x: Any = None, b_h: Any = None) -> State:
        return (activation(_linear(x, state[0], w_x, w_h, b_x, b_h)),)

    return cell


def _direction(cell: _Cell, pieces: Sequence[Tensor], state: State, weights: Sequence[Tensor]) -> tuple[Any, State]:
    """Run over pieces (samples, features), of which fewer may be left the later it is; return all outputs."""
    outputs = []
    for x in pieces:
        n = len(x)
        new = cell(x, tuple(s[:n] for s in state) if n < len(state[0]) else state, *weights)
        outputs.append(new[0])
        ended = (s[n:] for s in state)
        state = tuple(torch.cat([a, b]) for a, b in zip(new, ended, strict=True)) if n < len(state[0]) else new
    return outputs, state


def _layers(cell: _Cell) -> Callable[..., tuple[Tensor, ...]]:
    def run(x: Tensor, *given: Any) -> tuple[Tensor, ...]:
        """Take what ``torch.lstm`` takes; of packed sequences, how many samples each step has comes first."""
        packed = isinstance(given[0], Tensor) and not given[0].is_floating_point()
        sizes, given = (given[0], given[1:]) if packed else (None, given)
        start, weights, biased, layers, _, _, both, *first = given
        batch_first, starts = bool(first and first[0]), [start] if isinstance(start, Tensor) else list(start)
        axis, ways = 1 if batch_first else 0, 2 if both else 1
        pieces = list(x.unbind(axis) if sizes is None else torch.split(x, sizes.tolist()))
        each, ends = len(weights) // (layers * ways), list[State]()
        for layer in range(layers):
            found = []
            for way in range(ways):
                number = layer * ways + way
                own, order = weights[number * each : (number + 1) * each], -1 if way else 1
                if each in (3, 5):  # a projection behind weights, with biases or without
                    own = [*own[:-1], *([] if biased else [None, None]), own[-1]]
                outputs, end = _direction(cell, pieces[::order], tuple(s[number] for s in starts), own)
                found.append(outputs[::order])
                ends.append(end)
            pieces = [torch.cat(outputs, -1) if both else outputs[0] for outputs in zip(*found, strict=True)]
        output = torch.stack(pieces, axis) if sizes is None else torch.cat(pieces)
        return (output, *(torch.stack(one) for one in zip(*ends, strict=True)))

    return run


def _one(cell: _Cell) -> Callable[..., Any]:
    def run(x: Tensor, state: Any, *weights: Any) -> Any:
        found = cell(x, (state,) if isinstance(state, Tensor) else tuple(state), *weights)
        return found if len(found) > 1 else found[0]

    return run


def _pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Return the steps of sequences, the longest first, one after the other, and how many samples each has."""
    steps, listed = x.unbind(1 if batch_first else 0), lengths.tolist()
    sizes = [sum(length > step for length in listed) for step in range(max(listed))]
    return torch.cat([x[:n] for x, n in zip(steps, sizes, strict=False)]), torch.tensor(sizes)


def _unpack(data: Tensor, sizes: Tensor, batch_first: bool, value: float, length: int) -> tuple[Tensor, Tensor]:
    """Undo it; sequences that are shorter are filled up."""
    listed = sizes.tolist()
    fill = data.new_full((listed[0], *data.shape[1:]), value)
    steps = [torch.cat([x, fill[len(x) :]]) for x in torch.split(data, listed)] + [fill] * (length - len(listed))
    lengths = torch.tensor([sum(n > sample for n in listed) for sample in range(listed[0])])
    return torch.stack(steps, 1 if batch_first else 0), lengths


_CELLS = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _plain(torch.tanh), "rnn_relu": _plain(torch.relu)}
RECURRENT: dict[str, Callable[..., Any]] = {
    **{name: _layers(cell) for name, cell in _CELLS.items()},
    **{f"{name}_cell": _one(cell) for name, cell in _CELLS.items()},
    "_pack_padded_sequence": _pack,
    "_pad_packed_sequence": _unpack,
}
