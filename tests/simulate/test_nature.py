from __future__ import annotations

from itertools import pairwise

import numpy as np

from neuroxai.deformation import jacobian_determinant
from neuroxai.simulate.effects.base import brain_grid
from neuroxai.simulate.variability import draw_shape, scan_with
from neuroxai.space import Space


def test_natural_shapes_never_fold_and_differ():
    grid = Space((87, 105, 92), [[2, 0, 0, -86], [0, 2, 0, -122], [0, 0, 2, -86], [0, 0, 0, 1]])
    points = np.random.default_rng(0).uniform(-60, 60, (3, 500))
    moved = []
    for i in range(6):
        shape = draw_shape(np.random.default_rng(i), grid)
        assert jacobian_determinant(shape.warp).min() > 0.3
        assert np.linalg.det(shape.affine[:3, :3]) > 0.8
        moved.append(shape(points))
        assert np.linalg.norm(moved[-1] - points, axis=0).max() < 14
    assert min(np.abs(a - b).max() for a, b in pairwise(moved)) > 1


def test_scanner_draws_do_not_depend_on_the_image():
    brain = np.zeros((12, 14, 10), bool)
    brain[2:-2, 2:-2, 2:-2] = True
    one = np.where(brain, 1, 0).astype(np.float32)
    two = one.copy()
    two[5, 5, 5] = 0.2
    a = scan_with(np.random.default_rng(3), one, brain)
    b = scan_with(np.random.default_rng(3), two, brain)
    different = np.argwhere(a != b)
    assert different.tolist() == [[5, 5, 5]]
    assert not a[~brain].any()
    assert (a[brain] > 0).all()


def test_brain_grid_has_its_margin(atrophy):
    anatomy = atrophy.anatomy
    world = anatomy.space.world(np.argwhere(anatomy.brain))
    voxels = brain_grid(anatomy).voxels(world)
    assert voxels.min() > 5
    assert (voxels.max(0) < np.array(brain_grid(anatomy).shape) - 6).all()
