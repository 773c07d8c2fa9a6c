"""Blocks there and smooth fields back; N4 against ANTs' own."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.heads import painted, points_of
from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess import bias
from neuroxai.preprocess.bias import bias_field, n4
from neuroxai.space import Space, Volume

HEAD = Space((48, 57, 48), [[4, 0, 0, -94.5], [0, 4, 0, -112.5], [0, 0, 4, -94.5], [0, 0, 0, 1]])


def shaded():
    """A painted brain under a known field."""
    brain = painted(HEAD)
    where = brain.data > 0.1
    x, y, z = points_of(HEAD).reshape(3, *HEAD.shape)
    true = np.exp(0.3 * x / 60 - 0.2 * (y / 80) ** 2 + 0.1 * z / 60)
    true /= true[where].mean()
    return Volume((1000 * brain.data * true).astype(np.float32), HEAD), where, true


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 4.0), (2.0, 1.0, 3.0)])
def test_a_smooth_field_survives_the_blocks(spacing, rng, monkeypatch):
    shape = tuple(int(90 / s) + 3 for s in spacing)  # no multiple of the blocks
    space = Space(shape, np.diag([*spacing, 1]))
    x, y, z = np.meshgrid(*[s * np.arange(n) for s, n in zip(spacing, shape, strict=True)], indexing="ij")
    true = np.exp(0.3 * x / 90 + 0.2 * (y / 90) ** 2 - 0.1 * z / 90)
    where = (x > 12) & (x < 80) & (y > 8) & (y < 84) & (z > 9) & (z < 81)
    seen = []

    def estimate(values, mask):
        seen.append(values.shape)
        assert (values[mask] > 0).all()
        return np.log(np.where(mask, values, values[mask].mean()))  # a flat picture shows its field

    monkeypatch.setattr(bias, "n4", estimate)
    scan = Volume(np.where(where, 700 * true, rng.uniform(0, 5, shape)).astype(np.float32), space)
    found = bias_field(scan, where)
    assert found[where].mean(dtype=float) == pytest.approx(1, abs=1e-5)
    inner = where & (x > 18) & (x < 74) & (y > 14) & (y < 78) & (z > 15) & (z < 75)
    ratio = found[inner] / true[inner]
    assert ratio.max() / ratio.min() < 1.01
    assert np.isfinite(found).all()
    assert found.min() > 0
    # 68 x 76 x 72 mm in blocks of about 4 mm
    assert all(11 <= n <= 32 for n in seen[0])


def test_a_bias_field_is_found():
    scan, where, true = shaded()
    found = bias_field(scan, where)
    assert found.dtype == np.float32
    assert found.shape == scan.data.shape
    assert found[where].mean(dtype=float) == pytest.approx(1, abs=1e-4)
    assert found.min() > 0
    assert np.std(np.log(found / true)[where]) < 0.3 * np.std(np.log(true)[where])
    assert np.corrcoef(found[where], true[where])[0, 1] > 0.96
    assert found.tobytes() == bias_field(scan, where).tobytes()


def test_n4_is_that_of_ants(monkeypatch):
    """Step by step: no level ends early, where rounding could decide on one step more."""
    ants = pytest.importorskip("ants")
    scan, where, _ = shaded()
    values, where = scan.data[:, 8:, 4:], where[:, 8:, 4:]  # three unlike axes
    monkeypatch.setattr(bias, "TOLERANCE", 0.0)
    monkeypatch.setattr(bias, "STEPS", 4)
    field = n4(values, where)
    pictures = [ants.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in (values, where)]
    expected = ants.n4_bias_field_correction(
        *pictures, shrink_factor=1, convergence={"iters": [4] * 3, "tol": 0.0}, return_bias_field=True
    ).numpy()
    assert np.ptp(field[where]) > 0.1
    np.testing.assert_allclose(np.exp(field), expected, rtol=1e-4)


def test_a_flat_picture_has_a_flat_field():
    where = np.zeros((12, 10, 8), dtype=bool)
    where[2:9, 2:8, 1:7] = True
    np.testing.assert_allclose(n4(np.full(where.shape, 7, np.float32), where), 0, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, -1e9, np.nan, np.inf])
def test_voxels_that_are_no_positive_numbers_do_not_take_part(value, rng):
    scan, where, _ = shaded()
    holes = where & (rng.random(where.shape) < 0.05)
    values = np.where(holes, np.float32(value), scan.data)
    found = bias_field(Volume(values, HEAD), where)
    expected = bias_field(scan, where & ~holes)
    assert np.ptp(expected[where]) > 0.1
    # of mean 1 in all of the mask, or in what is left of it
    np.testing.assert_allclose(found / found[where].mean(), expected / expected[where].mean(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(60, 60, 1), (100, 100, 12)])
def test_a_slab_and_parts_that_do_not_touch(shape):
    """One block along an axis, or few slices of 5 mm; the gap in between takes part in nothing."""
    space = Space(shape, np.diag([2.0, 2.0, 60.0 if shape[2] == 1 else 5.0, 1]))
    x, y, z = np.indices(shape)
    where = (x < 0.4 * shape[0]) | (x > 0.6 * shape[0])
    tissue = np.where((x // 6 + y // 6 + z) % 2, 60, 100)
    true = np.exp(0.3 * x / shape[0] - 0.2 * (y / shape[1]) ** 2)
    found = bias_field(Volume(np.where(where, tissue * true, -1).astype(np.float32), space), where)
    assert np.isfinite(found).all()
    assert np.std(np.log(found / true)[where]) < 0.2 * np.std(np.log(true)[where])


def test_what_is_refused():
    scan, where, _ = shaded()
    with pytest.raises(SpaceError, match="truth value"):
        bias_field(scan, np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(InputError, match="100 ml"):
        bias_field(scan, np.zeros_like(where))
