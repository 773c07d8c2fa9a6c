"""Layers as dense matrices, by applying them to unit vectors in float64; normalisations by their formula."""

from __future__ import annotations

import numpy as np
import torch


def dense(layer, shape):
    """Matrix and bias of an affine layer: (outputs, inputs) and (outputs,), for inputs of `shape` without batch."""
    size = int(np.prod(shape))
    with torch.no_grad():
        zero = layer(torch.zeros(1, *shape, dtype=torch.float64)).reshape(-1)
        units = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        columns = torch.stack([layer(unit[None]).reshape(-1) - zero for unit in units], 1)
    return columns.numpy(), zero.numpy()


def reads(layer, shape):
    """Which inputs each output of a layer with weights reads, whatever the weights."""
    with torch.no_grad():
        kept = {name: p.clone() for name, p in layer.named_parameters()}
        for name, p in layer.named_parameters():
            p.fill_(float(name.endswith("weight")))
        pattern = dense(layer, shape)[0] > 0.5
        for name, p in layer.named_parameters():
            p.copy_(kept[name])
    return pattern


def normalisation(x, groups, factor, offset, eps, upper, epsilon, mode, centred=True):
    """Output, and relevance of inputs, of ``factor (x - mean) / std + offset``; `groups` numbers each value's group.

    Ali et al. (2022): 1 / std is a constant; ``w_ji = factor_j / std (1[i = j] - 1 / n)`` inside a group.
    """
    n = len(x)
    matrix, output = np.zeros((n, n)), np.zeros(n)
    for j in range(n):
        members = [i for i in range(n) if groups[i] == groups[j]]
        mean = sum(x[i] for i in members) / len(members) if centred else 0.0
        variance = sum((x[i] - mean) ** 2 for i in members) / len(members)
        scale = factor[j] / np.sqrt(variance + eps)
        for i in members:
            matrix[j, i] = scale * ((i == j) - (1 / len(members) if centred else 0.0))
        output[j] = scale * (x[j] - mean) + offset[j]
    lower = np.zeros(n)
    for j in range(n):
        z = output[j] - (offset[j] if mode == "ignore" else 0.0)
        z += epsilon if z >= 0 else -epsilon
        members = [i for i in range(n) if groups[i] == groups[j]] if centred else [j]
        for i in range(n):
            lower[i] += x[i] * matrix[j, i] * upper[j] / z
            if mode == "distribute" and i in members:
                lower[i] += offset[j] / len(members) * upper[j] / z
    return output, lower
