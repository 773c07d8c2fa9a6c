"""The patch-individual filter layer as the paper has it: one patch, one filter, one output voxel at a time."""

from __future__ import annotations

import itertools

import numpy as np


def pif(x, weight, bias, patch, stride, before, after, overlap, reassemble):
    """Run plain and overlap patches in C order; all arrays as the layer has them, numbers one an axis."""
    axes = range(len(patch))
    shape = x.shape[2:]
    counts = [-(-shape[a] // patch[a]) for a in axes]
    filled = np.zeros((*x.shape[:2], *[counts[a] * patch[a] for a in axes]))
    filled[(..., *[slice(n) for n in shape])] = x
    kernel = weight.shape[3:]
    out = [(patch[a] + before[a] + after[a] - kernel[a]) // stride[a] + 1 for a in axes]
    stacked, grids = [], []
    number = 0
    for shifted in (False, True)[: 1 + (overlap is not None)]:
        many = [max(counts[a] - shifted, 1) for a in axes]
        grid = np.zeros((len(x), weight.shape[1], *[counts[a] * out[a] for a in axes]))
        for index in itertools.product(*map(range, many)):
            move = [shifted and counts[a] > 1 for a in axes]
            offset = [(patch[a] if overlap == "reference" else patch[a] // 2) * move[a] for a in axes]
            begin = [index[a] * patch[a] + offset[a] for a in axes]
            piece = filled[(..., *[slice(begin[a], begin[a] + patch[a]) for a in axes])]
            piece = np.pad(piece, [(0, 0), (0, 0), *[(before[a], after[a]) for a in axes]])
            result = np.zeros((len(x), weight.shape[1], *out))
            for place in itertools.product(*map(range, out)):
                window = piece[(..., *[slice(p * s, p * s + k) for p, s, k in zip(place, stride, kernel, strict=True)])]
                for f in range(weight.shape[1]):
                    value = (window * weight[number, f]).sum(axis=tuple(range(1, window.ndim)))
                    result[(slice(None), f, *place)] = value + (0 if bias is None else bias[number, f])
            stacked.append(result)
            back = [index[a] * out[a] + (out[a] // 2) * move[a] for a in axes]
            grid[(..., *[slice(back[a], back[a] + out[a]) for a in axes])] = result
            number += 1
        grids.append(grid)
    assert number == len(weight)
    return np.concatenate(grids, axis=1) if reassemble else np.stack(stacked, axis=2)
