"""Heatmaps brought to a scan's grid on the device they are on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.sampling import smoothing
from neuroxai.space import Space

PLANES = 16  # of the new grid at a time, so that the table of places stays small


@torch.no_grad()
def resampled(heatmap: Tensor, source: Space, target: Space) -> Tensor:
    """Resample as `neuroxai.space.Volume.resampled_to` does (linear, smoothed along axes that become coarser).

    Parameters
    ----------
    heatmap : torch.Tensor, shape (1, 1, *source.shape)
        On any device.
    source, target : Space
        Its grid, and the grid wanted.

    Returns
    -------
    torch.Tensor, shape (1, 1, *target.shape)
        float32, 0 outside the field of view.
    """
    matrix = target.to_voxels_of(source)
    values = heatmap.float()
    for axis, sigma in enumerate(smoothing(matrix)):
        if sigma > 0:
            values = _smoothed(values, float(sigma), axis)
    # places in the source's voxels, then in torch's coordinates: -1 and 1 are the first and last voxel's centres
    size = torch.tensor(source.shape, dtype=torch.float64, device=values.device)
    linear = torch.from_numpy(np.ascontiguousarray(matrix[:3, :3])).to(values.device)
    offset = torch.from_numpy(np.ascontiguousarray(matrix[:3, 3])).to(values.device)
    axes = [torch.arange(n, dtype=torch.float64, device=values.device) for n in target.shape]
    parts = []
    for start in range(0, target.shape[0], PLANES):
        voxels = torch.stack(torch.meshgrid(axes[0][start : start + PLANES], axes[1], axes[2], indexing="ij"), dim=-1)
        places = voxels @ linear.T + offset
        places = places * 2 / (size - 1).clamp(min=1) - 1
        grid = places.flip(-1).float()[None]  # torch names the last axis first
        parts.append(F.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=True))
    return torch.cat(parts, dim=2)


def _smoothed(values: Tensor, sigma: float, axis: int) -> Tensor:
    """Smooth along one spatial axis with a Gaussian cut off at four sigma, zeros outside, as scipy does."""
    radius = int(4 * sigma + 0.5)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
    shape[2 + axis], padding[axis] = 2 * radius + 1, radius
    weight = (kernel / kernel.sum()).reshape(shape).to(values)
    return F.conv3d(values, weight, padding=padding)
