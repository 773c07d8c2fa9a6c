"""Blocks there and smooth fields back."""

from __future__ import annotations

import numpy as np
import pytest

from neuroxai.preprocess.intensity import bias_field
from neuroxai.space import Space, Volume


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 4.0), (2.0, 1.0, 3.0)])
def test_a_smooth_field_survives_the_blocks(spacing, rng):
    shape = tuple(int(90 / s) + 3 for s in spacing)  # no multiple of the blocks
    space = Space(shape, np.diag([*spacing, 1]))
    x, y, z = np.meshgrid(*[s * np.arange(n) for s, n in zip(spacing, shape, strict=True)], indexing="ij")
    true = np.exp(0.3 * x / 90 + 0.2 * (y / 90) ** 2 - 0.1 * z / 90)
    where = (x > 12) & (x < 80) & (y > 8) & (y < 84) & (z > 9) & (z < 81)
    seen = []

    def estimate(values, mask, coarse):
        seen.append((values.shape, coarse))
        assert (values[mask] > 0).all()
        return np.where(mask, values, values[mask].mean()).astype(np.float32)  # a flat picture shows its field

    scan = Volume(np.where(where, 700 * true, rng.uniform(0, 5, shape)).astype(np.float32), space)
    found = bias_field(scan, where, estimate)
    assert found[where].mean(dtype=float) == pytest.approx(1, abs=1e-5)
    inner = where & (x > 18) & (x < 74) & (y > 14) & (y < 78) & (z > 15) & (z < 75)
    ratio = found[inner] / true[inner]
    assert ratio.max() / ratio.min() < 1.01
    assert np.isfinite(found).all()
    assert found.min() > 0
    assert all(2.5 < s < 6 for s in seen[0][1])
