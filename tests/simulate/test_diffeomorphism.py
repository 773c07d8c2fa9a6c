from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, ndimage

from neuroxai.deformation import Displacement, field_space, grid_points, jacobian_determinant, sample
from neuroxai.simulate.effects.base import exponential, velocity
from neuroxai.space import Space, mni152

SPACE = Space((40, 44, 36), [[2, 0, 0, -40], [0, 2, 0, -50], [0, 0, 2, -30], [0, 0, 0, 1]])


def bump(centre, sigma, space=SPACE):
    """A Gaussian, its gradient and its Laplacian at every voxel, in closed form."""
    offset = grid_points(space) - np.reshape(centre, (3, 1))
    value = np.exp(-(offset**2).sum(0) / (2 * sigma**2))
    gradient = -offset / sigma**2 * value
    laplacian = ((offset**2).sum(0) / sigma**4 - 3 / sigma**2) * value
    shape = space.shape
    return value.reshape(shape), gradient.reshape(3, *shape), laplacian.reshape(shape)


def test_velocity_is_the_gradient_of_the_known_potential():
    # off-centre and unequal axes: a transposed or flipped axis would show
    value, gradient, laplacian = bump((6, -9, 11), 6.0)
    v = velocity((100 * laplacian).astype(np.float32), 2.0)
    assert np.abs(v - 100 * gradient).max() < 0.01 * np.abs(100 * gradient).max()
    assert value.max() > 0.9


def test_velocity_of_a_balanced_source_dies_off_away_from_it():
    one, two = bump((0, -8, 0), 4.0)[0], bump((0, 8, 0), 4.0)[0]
    v = velocity((0.3 * (one - two)).astype(np.float32), 2.0)
    size = np.linalg.norm(v, axis=0)
    rim = np.ones(SPACE.shape, bool)
    rim[3:-3, 3:-3, 3:-3] = False
    assert size[rim].max() < 0.1 * size.max()


def test_exponential_of_zero_is_exactly_zero():
    assert not exponential(np.zeros((3, *SPACE.shape), np.float32), SPACE).field.any()


def test_exponential_of_a_linear_velocity_is_the_matrix_exponential():
    matrix = np.array([[-0.1, 0.05, 0.0], [-0.08, 0.12, 0.03], [0.02, 0.0, -0.06]])
    points = grid_points(SPACE)
    centre = points.mean(1, keepdims=True)
    v = (matrix @ (points - centre)).reshape(3, *SPACE.shape).astype(np.float32)
    moved = exponential(v, SPACE)
    inner = np.linalg.norm(points - centre, axis=0) < 15
    wanted = centre + linalg.expm(matrix) @ (points[:, inner] - centre)
    assert np.abs(moved(points[:, inner]) - wanted).max() < 0.02
    # Jacobi: det exp(A) = exp(trace A)
    assert jacobian_determinant(moved).reshape(-1)[inner] == pytest.approx(np.exp(np.trace(matrix)), abs=2e-3)


def test_jacobian_of_an_affine_map_is_its_determinant():
    matrix = np.array([[0.9, 0.2, 0.0], [-0.1, 1.3, 0.05], [0.0, 0.3, 0.8]])
    points = grid_points(SPACE)
    u = (matrix @ points - points).reshape(3, *SPACE.shape).astype(np.float32)
    assert jacobian_determinant(Displacement(u, SPACE)) == pytest.approx(np.linalg.det(matrix), abs=1e-4)


@given(st.integers(0, 10_000), st.floats(0.5, 4.0), st.floats(3.0, 6.0))
def test_random_velocities_give_diffeomorphisms_with_inverse(seed, size, sigma):
    space = Space((20, 22, 18), np.diag([4.0, 4, 4, 1]))
    rng = np.random.default_rng(seed)
    v = np.stack([ndimage.gaussian_filter(rng.standard_normal(space.shape), sigma) for _ in range(3)])
    window = np.ones(space.shape)
    for axis in range(3):
        n = space.shape[axis]
        ramp = np.clip(np.minimum(np.arange(n), n - 1 - np.arange(n)) / 5, 0, 1)
        window *= ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    v = (v * window * size / np.abs(v).max()).astype(np.float32)
    forward, backward = exponential(v, space), exponential(-v, space)
    assert jacobian_determinant(forward).min() > 0
    assert jacobian_determinant(backward).min() > 0
    points = grid_points(space)
    assert np.abs(backward(forward(points)) - points).max() < 0.1 * size


def test_field_space_covers_a_grid_in_any_orientation():
    source = mni152(4).reoriented("LIA")
    made = field_space(source, 2.0)
    assert made.orientation == "RAS"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in source.shape])).reshape(3, -1).T
    voxels = made.voxels(source.world(corners))
    assert voxels.min() >= -0.5
    assert (voxels <= np.array(made.shape) - 0.5).all()


def test_sample_outside_is_zero_or_the_border():
    values = np.ones((3, 3, 3), np.float32)
    outside = np.array([[9.0], [9.0], [9.0]])
    assert sample(values, outside)[0] == 0
    assert sample(values, outside, mode="nearest")[0] == 1
