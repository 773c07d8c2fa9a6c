from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import SpaceError
from neuroxai.layers import PatchGrid


@st.composite
def grids(draw, plain=False):
    """Draw a grid of one to three axes with patches anywhere on it, also beyond its end."""
    axes = draw(st.integers(1, 3))
    shape, patch, counts, start = [], [], [], []
    for _ in range(axes):
        size, piece = draw(st.integers(1, 9)), draw(st.integers(1, 5))
        shape.append(size)
        patch.append(piece)
        first = 0 if plain else draw(st.integers(0, size - 1))
        start.append(first)
        counts.append(-(-size // piece) if plain else draw(st.integers(1, -(-(size - first) // piece))))
    return PatchGrid(tuple(shape), tuple(patch), tuple(counts), tuple(start))


def numbered(*shape):
    return torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)


@given(grids(plain=True))
def test_joining_what_was_split_gives_the_grid_back_for_odd_and_even_sizes(grid):
    x = numbered(2, 3, *grid.shape)
    assert torch.equal(grid.join(grid.split(x)), x)


@given(grids())
def test_splitting_what_was_joined_gives_every_voxel_inside_the_grid_back(grid):
    patches = numbered(2, len(grid), 3, *grid.patch)
    inside = grid.split(torch.ones(2, 3, *grid.shape, dtype=torch.float64))
    assert torch.equal(grid.split(grid.join(patches)), patches * inside)


@given(grids())
def test_join_is_the_transpose_of_split(grid):
    generator = torch.Generator().manual_seed(len(grid))
    x = torch.randn(2, 2, *grid.shape, dtype=torch.float64, generator=generator)
    y = torch.randn(2, len(grid), 2, *grid.patch, dtype=torch.float64, generator=generator)
    torch.testing.assert_close((grid.split(x) * y).sum(), (x * grid.join(y)).sum(), rtol=1e-12, atol=1e-12)


@given(grids())
def test_a_patch_holds_what_stands_in_its_region(grid):
    x = numbered(1, 2, *grid.shape)
    patches = grid.split(x)
    for number in range(len(grid)):
        inside = x[(..., *grid.region(number))]  # slices stop at the end of the grid
        held = patches[(slice(None), number, slice(None), *[slice(n) for n in inside.shape[2:]])]
        assert torch.equal(held, inside)
        assert patches[:, number].count_nonzero() == inside.numel()


def test_patches_stand_in_c_order():
    grid = PatchGrid((4, 4), (2, 2), (2, 2), (0, 0))
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert grid.split(x)[0, :, 0, 0, 0].tolist() == [0, 2, 8, 10]
    assert grid.region(1) == (slice(0, 2), slice(2, 4))


def test_another_grid_is_refused_with_both_shapes():
    with pytest.raises(SpaceError, match=r"\(4, 5\), expected \(4, 4\)"):
        PatchGrid((4, 4), (2, 2), (2, 2), (0, 0)).split(torch.zeros(1, 1, 4, 5))
