"""Occlusion as the papers describe it: one part and one forward pass at a time."""

from __future__ import annotations

from itertools import product

import torch


def starts_of(length, size, step):
    """First voxels of the patches along one axis: until one reaches the end."""
    found = [0]
    while found[-1] + size < length:
        found.append(found[-1] + step)
    return found


def one_by_one(score, x, patch, stride, value=0.0):
    """Mean drop of a score over the patches that hold each voxel, for one input (1, channels, *grid)."""
    grid = x.shape[2:]
    total, count = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0])
    whole = score(x.clone())
    for corner in product(*(starts_of(n, p, s) for n, p, s in zip(grid, patch, stride, strict=True))):
        box = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        occluded = x.clone()
        occluded[(slice(None), slice(None), *box)] = value
        total[box] += (whole - score(occluded)).squeeze()
        count[box] += 1
    return (total / count).expand_as(x)


def region_drops(score, x, labels, values, value=0.0):
    """Drop of a score for each region, for one input."""
    whole, drops = score(x.clone()), []
    for label in values:
        drops.append((whole - score(torch.where(labels == label, value, x))).squeeze())
    return torch.stack(drops)
