"""Layer-wise relevance propagation by dense matrices in float64, written from the papers' formulas.

Slow on purpose: a convolution is spelled out as a matrix, each contribution ``w_ji x_i`` stands in a table, and rules
are sums over rows of that table. NumPy only; nothing of neuroxai or of torch's convolutions is used.

Bach et al. (2015), eq. 56 (zero), 58 (epsilon), 60 (alpha-beta; the bias counts by its sign, eq. 61); Montavon et al.
(2017), rules z+, z^B (box) and w^2; Lapuschkin et al. (2019) (flat); Montavon et al. (2019), section 10.2.1 (gamma);
Boehle et al. (2019), eq. 3 (beta rule).
"""

from __future__ import annotations

import numpy as np

EPSILON = 1e-6


def stabilised(z, epsilon):
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def conv_matrix(weight, grid, stride, padding, dilation, groups):
    """Spell a convolution out: (out channels * out grid, in channels * in grid); padding is (before, after) an axis."""
    out_channels, in_group, *kernel = weight.shape
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    out_grid = [(n + sum(p) - r) // s + 1 for n, p, r, s in zip(grid, padding, reach, stride, strict=True)]
    in_channels = in_group * groups
    matrix = np.zeros((out_channels, *out_grid, in_channels, *grid))
    for o in range(out_channels):
        first = (o // (out_channels // groups)) * in_group
        for at in np.ndindex(*out_grid):
            for tap in np.ndindex(*kernel):
                where = tuple(
                    a * s - p[0] + t * d for a, s, p, t, d in zip(at, stride, padding, tap, dilation, strict=True)
                )
                if all(0 <= w < n for w, n in zip(where, grid, strict=True)):
                    for i in range(in_group):
                        matrix[(o, *at, first + i, *where)] += weight[(o, i, *tap)]
    return matrix.reshape(out_channels * int(np.prod(out_grid)), -1), (out_channels, *out_grid)


def same_padding(kernel, dilation):
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [(t // 2, t - t // 2) for t in total]


def relevance(rule, options, matrix, bias, x, upper):
    """Relevance of the inputs x (n,) of the layer ``matrix @ x + bias`` from that of its outputs."""
    table = matrix * x  # contributions w_ji x_i
    epsilon, mode = options.get("epsilon", EPSILON), options.get("bias", "absorb")
    inside = np.zeros_like(bias) if mode == "ignore" else bias
    spread = inside if mode == "distribute" else np.zeros_like(bias)
    # number of inputs that a neuron reads: positions its filter covers, whatever the weights
    reads = options["reads"].sum(1) if mode == "distribute" else np.ones_like(bias)
    mask = options["reads"] if mode == "distribute" else np.zeros_like(table)

    def shared(part, bias_part, spread_part, share):
        z = part.sum(1) + bias_part
        rows = part + mask * (spread_part / np.maximum(reads, 1))[:, None]
        return (rows * (share * upper / stabilised(z, epsilon))[:, None]).sum(0)

    def plus(a):
        return np.maximum(a, 0)

    def minus(a):
        return np.minimum(a, 0)

    if rule in ("epsilon", "zero"):
        return shared(table, inside, spread, 1.0)
    if rule == "z_plus":
        return shared(plus(table), plus(inside), plus(spread), 1.0)
    if rule == "alpha_beta":
        beta = options["beta"]
        up, down = np.full(len(bias), 1 + beta), np.full(len(bias), -beta)
        if options.get("one_signed") == "keep" and beta > 0:
            up = np.where(minus(table).sum(1) + minus(inside) == 0, 1.0, up)
            down = np.where(plus(table).sum(1) + plus(inside) == 0, 1.0, down)
        return shared(plus(table), plus(inside), plus(spread), up) + shared(
            minus(table), minus(inside), minus(spread), down
        )
    if rule == "z_box":
        low = min(0.0, x.min()) if options["low"] is None else options["low"]
        high = max(0.0, x.max()) if options["high"] is None else options["high"]
        box = table - low * plus(matrix) - high * minus(matrix)
        return shared(box, plus(inside), plus(spread), 1.0)
    if rule == "w_square":
        return shared(matrix**2, inside**2, spread**2, 1.0)
    if rule == "flat":
        return shared(options["reads"].astype(float), 0 * inside, 0 * spread, 1.0)
    if rule == "gamma":
        gamma = options["gamma"]
        active = matrix @ x + bias >= 0
        high = shared(table + gamma * plus(table), inside + gamma * plus(inside), spread + gamma * plus(spread), active)
        low = table + gamma * minus(table)
        return high + shared(low, inside + gamma * minus(inside), spread + gamma * minus(spread), ~active)
    raise ValueError(rule)


def max_pool(x, kernel, stride, padding, dilation, ceil):
    """Pool (channels, *grid); returns the output and, for each output, the winner's index in its channel's grid."""
    channels, *grid = x.shape
    out_grid = []
    for n, k, s, p, d in zip(grid, kernel, stride, padding, dilation, strict=True):
        span = n + 2 * p - d * (k - 1) - 1
        size = -(-span // s) + 1 if ceil else span // s + 1
        if ceil and (size - 1) * s >= n + p:  # a window must start inside the input or its left padding
            size -= 1
        out_grid.append(size)
    out, winners = np.zeros((channels, *out_grid)), np.zeros((channels, *out_grid), dtype=int)
    for c in range(channels):
        for at in np.ndindex(*out_grid):
            best = None
            for tap in np.ndindex(*kernel):
                where = tuple(
                    a * s - p + t * d for a, s, p, t, d in zip(at, stride, padding, tap, dilation, strict=True)
                )
                inside = all(0 <= w < n for w, n in zip(where, grid, strict=True))
                if inside and (best is None or x[(c, *where)] > x[(c, *best)]):
                    best = where
            out[(c, *at)] = x[(c, *best)]
            winners[(c, *at)] = np.ravel_multi_index(best, grid)
    return out, winners


def unpool(upper, winners, grid):
    lower = np.zeros((len(upper), int(np.prod(grid))))
    for c in range(len(upper)):
        for r, w in zip(upper[c].ravel(), winners[c].ravel(), strict=True):
            lower[c, w] += r
    return lower.reshape(len(upper), *grid)
