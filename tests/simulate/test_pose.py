from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from neuroxai.errors import InputError
from neuroxai.simulate import Acquisition, RandomPose, simulate_scan
from neuroxai.simulate.pose import draw_pose, posed_grid, rotation
from neuroxai.space import Space, Volume, mni152

CENTRE = np.array([0.0, -18.0, 8.0])


@pytest.mark.parametrize("vector", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (3, 14, -12), (170, 20, 5)])
def test_rotation_is_that_of_its_vector(vector):
    slow = Rotation.from_rotvec(vector, degrees=True).as_matrix()
    np.testing.assert_allclose(rotation(np.array(vector, dtype=float)), slow, atol=1e-12)


def test_poses_keep_their_limits_and_say_what_they_are(rng):
    limits = RandomPose(15, 12, 0.1)
    poses = [draw_pose(rng, limits, CENTRE) for _ in range(300)]
    angles, shifts, sizes = [], [], []
    for pose in poses:
        turn, shift = (np.array([pose.columns[f"pose_{k}"] for k in keys]) for keys in (
            [f"rotation_{a}_degrees" for a in "xyz"], [f"shift_{a}_mm" for a in "xyz"]))  # fmt: skip
        size = pose.columns["head_size"]
        linear = pose.matrix[:3, :3]
        assert np.linalg.det(linear) == pytest.approx(size**3)  # no mirror
        np.testing.assert_allclose(linear / size, Rotation.from_rotvec(turn, degrees=True).as_matrix(), atol=1e-9)
        np.testing.assert_allclose(linear @ CENTRE + pose.matrix[:3, 3], shift, atol=1e-9)
        angles.append(np.linalg.norm(turn))
        shifts.append(np.linalg.norm(shift))
        sizes.append(size)
    assert 14 < max(angles) <= 15
    assert 11 < max(shifts) <= 12
    assert 0.9 <= min(sizes) < 0.91
    assert 1.09 < max(sizes) <= 1.1


def test_a_posed_grid_covers_the_box(rng):
    box = mni152(8)
    pose = draw_pose(rng, RandomPose(), CENTRE)
    grid = posed_grid(box, pose.matrix, (2.0, 2.0, 3.0), 5.0)
    assert grid.spacing == (2.0, 2.0, 3.0)
    moved = box.corners() @ pose.matrix[:3, :3].T + pose.matrix[:3, 3]
    voxels = grid.voxels(moved)
    assert (voxels > -0.5).all()
    assert (voxels < np.array(grid.shape) - 0.5).all()


@pytest.mark.parametrize("limits", [(-1, 0, 0), (91, 0, 0), (0, 101, 0), (0, 0, 0.4), (float("nan"), 0, 0)])
def test_limits_out_of_range(limits):
    with pytest.raises(InputError, match="0 to"):
        RandomPose(*limits)


def back(scan, matrix, space):
    """Bring a posed image to MNI152 space by the pose: sample at matrix @ world."""
    points = np.stack(np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij"), -1)
    world = space.world(points) @ matrix[:3, :3].T + matrix[:3, 3]
    voxels = np.moveaxis(scan.space.voxels(world), -1, 0)
    return ndimage.map_coordinates(scan.image, voxels, order=1)


def alike(a, b):
    inside = (a > 0) | (b > 0)
    return np.corrcoef(a[inside], b[inside])[0, 1]


def test_the_true_pose_takes_the_scan_back(atrophy, seed):
    acquisition = Acquisition(atrophy, mni152(4))
    straight = simulate_scan(acquisition, seed, True)
    posed = simulate_scan(acquisition, seed, True, RandomPose(20, 20, 0.08))
    assert straight.pose is None
    assert not posed.space.matches(straight.space)
    right = alike(back(posed, posed.pose, straight.space), straight.image)
    wrong = alike(back(posed, np.linalg.inv(posed.pose), straight.space), straight.image)
    mirrored = alike(np.flip(back(posed, posed.pose, straight.space), 0), straight.image)
    assert right > 0.9
    assert right > wrong + 0.2
    assert right > mirrored + 0.05
    # the effect goes with the head
    centre = straight.space.world(np.argwhere(straight.mask).mean(0))
    moved = posed.space.world(np.argwhere(posed.mask).mean(0))
    np.testing.assert_allclose(posed.pose[:3, :3] @ centre + posed.pose[:3, 3], moved, atol=1.5)


def test_volumes_grow_with_the_head(atrophy_8mm):
    seed = np.random.SeedSequence(5)
    small, large = (simulate_scan(atrophy_8mm, seed, True, RandomPose(20, 20, size)) for size in (0.0, 0.3))
    assert small.columns["head_size"] == 1
    assert abs(large.columns["head_size"] - 1) > 0.02
    assert large.columns["pose_rotation_x_degrees"] == small.columns["pose_rotation_x_degrees"]
    for name in ("brain_volume_mm3", "hippocampus_left_volume_mm3"):
        grown = large.columns[name] / small.columns[name]
        assert grown == pytest.approx(large.columns["head_size"] ** 3, rel=0.02)


def test_a_space_of_uneven_voxels_is_covered():
    grid = Space((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    np.testing.assert_allclose(grid.corners().min(0), [-1.0, -1.5, -2.0])
    assert Volume(np.zeros(grid.shape), grid).space.matches(grid)
