"""Both engines against poses, fields and deformations that are known."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from helpers.heads import painted, points_of, posed
from neuroxai.deformation import grid_points, sample, to_voxels
from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess import registration as engines
from neuroxai.preprocess.registration import create
from neuroxai.space import Space, Volume

WIDE = Space((60, 68, 60), [[4, 0, 0, -118], [0, 4, 0, -134], [0, 0, 4, -118], [0, 0, 0, 1]])
POSES = [((18, -12, 15), (15, -18, 12)), ((-20, 8, -10), (-20, 10, 20))]


# where it takes half a minute an engine, the second is tried in the full tier
SLOW_ENGINES = pytest.mark.parametrize(
    "engine", ["ants", pytest.param("itk", marks=pytest.mark.full(2))], indirect=True
)


def distance(found, true, space):
    """Largest distance in mm over the brain."""
    points = points_of(space)[:, painted(space).data.ravel() > 0.1]
    difference = found - true
    return np.linalg.norm(difference[:3, :3] @ points + difference[:3, 3:], axis=0).max()


@SLOW_ENGINES
def test_a_pose_is_found_between_orientations(engine, grid):
    true = posed(*POSES[0])
    found = engine.rigid(painted(grid).reoriented("LIP"), painted(WIDE, true).reoriented("PSR"))
    assert distance(found, true, grid) < 1
    np.testing.assert_allclose(found[:3, :3].T @ found[:3, :3], np.eye(3), atol=1e-9)
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1)


@SLOW_ENGINES
def test_an_oblique_grid_and_another_contrast(engine, grid):
    true = posed(*POSES[1])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", (20, -10, 15), degrees=True).as_matrix() @ np.diag([-4, 4, 5])
    affine[:3, 3] = -affine[:3, :3] @ (32, 34, 27)
    moving = painted(Space((64, 68, 54), affine), true)
    inverted = Volume(np.where(moving.data > 0.1, 400 * (1.4 - moving.data) ** 2, 0).astype(np.float32), moving.space)
    assert distance(engine.rigid(painted(grid), inverted), true, grid) < 1.5


@SLOW_ENGINES
def test_an_affine_map_is_found_twice_the_same_within_masks(engine, grid):
    true = posed((10, -15, 5), (8, 12, -10), (1.12, 0.93, 1.06))
    brain = painted(WIDE, true)
    rng = np.random.default_rng(3)
    around = np.where(brain.data > 0.05, brain.data, rng.uniform(0.4, 1, brain.data.shape)).astype(np.float32)
    mask = Volume(brain.data > 0.05, WIDE)
    one, two = (engine.affine(painted(grid), Volume(around, WIDE), seed=4, moving_mask=mask) for _ in range(2))
    assert distance(one, true, grid) < 2
    assert one.tobytes() == two.tobytes()


def test_a_warp_and_its_inverse(grid, monkeypatch, tmp_path):
    pytest.importorskip("ants")
    from neuroxai.preprocess.registration import ants as ants_engine

    monkeypatch.setattr(ants_engine, "_SYN_ITERATIONS", {8: 40, 4: 3})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    engine, fixed = create("ants"), painted(grid).reoriented("LPS")
    affine = posed((10, 5, -8), (6, -9, 4))

    def u(points):  # a lopsided push of up to 8 mm to the right and the front
        x, y, z = points
        bump = np.exp(-((x + 20) ** 2 + (y - 10) ** 2 + (z - 5) ** 2) / (2 * 25**2))
        return bump * np.array([8, 5, -4])[:, None]

    # the moving picture at affine(x + u(x)) is the fixed one at x: x is sought for every moving voxel
    inverse = np.linalg.inv(affine)
    there = inverse[:3, :3] @ grid_points(WIDE) + inverse[:3, 3:]
    x = there.copy()
    for _ in range(50):
        x = there - u(x)
    fine = painted(Space((96, 114, 96), [[2, 0, 0, -95], [0, 2, 0, -113], [0, 0, 2, -95], [0, 0, 0, 1]]))
    moving = Volume(_at(fine, x).reshape(WIDE.shape), WIDE)
    warp, back = engine.deformable(fixed, moving, affine)
    assert warp.field.dtype == np.float32
    assert warp.space.matches(fixed.space)
    assert back.space.matches(fixed.space)
    points = points_of(grid)[:, painted(grid).data.ravel() > 0.1]
    assert np.linalg.norm(back(warp(points)) - points, axis=0).max() < 1
    pushed = points[:, np.linalg.norm(u(points), axis=0) > 5]
    error = np.linalg.norm(warp(pushed) - pushed - u(pushed), axis=0)
    assert error.mean() < 0.5 * np.linalg.norm(u(pushed), axis=0).mean()
    # the warp brings the pictures together
    before, after = (_at(moving, affine[:3, :3] @ p + affine[:3, 3:]) for p in (pushed, warp(pushed)))
    truth = _at(fine, pushed)
    assert np.abs(after - truth).mean() < 0.7 * np.abs(before - truth).mean()
    # and nothing is left behind
    assert list(tmp_path.iterdir()) == []
    assert os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS") == threads


def _at(volume, points):
    return sample(volume.data, to_voxels(volume.space, points))


def test_what_is_refused(engine, grid):
    brain = painted(grid)
    flat = Volume(np.ones(grid.shape, dtype=np.float32), grid)
    with pytest.raises(InputError, match="one value 1"):
        engine.rigid(brain, flat)
    holes = brain.data.copy()
    holes[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        engine.affine(Volume(holes, grid), brain)
    with pytest.raises(InputError, match="mask is empty"):
        engine.affine(brain, brain, moving_mask=Volume(np.zeros(grid.shape, dtype=bool), grid))
    with pytest.raises(SpaceError, match="resample the mask"):
        engine.affine(brain, brain, fixed_mask=Volume(np.ones((5, 5, 5), dtype=bool), Space((5, 5, 5), np.eye(4))))


def test_itk_has_no_warps(grid):
    pytest.importorskip("itk")
    with pytest.raises(InputError, match=r"choose 'ants'"):
        create("itk").deformable(painted(grid), painted(grid), np.eye(4))


def test_a_sheared_fixed_grid_has_no_warp(grid):
    pytest.importorskip("ants")
    sheared = grid.affine.copy()
    sheared[0, 1] = 1
    fixed = painted(Space(grid.shape, sheared))
    with pytest.raises(SpaceError, match="sheared"):
        create("ants").deformable(fixed, painted(grid), np.eye(4))


def test_engines_by_name(monkeypatch):
    with pytest.raises(InputError, match="choose one of: ants, auto, itk"):
        create("fsl")
    found = {"ants": True, "itk": True}
    monkeypatch.setattr(engines, "find_spec", lambda name: object() if found[name] else None)
    pytest.importorskip("ants")
    pytest.importorskip("itk")
    assert create("auto").name == "ants"
    assert create("itk").version
    found["ants"] = False
    assert create("auto").name == "itk"
    with pytest.raises(InputError, match=r"pip install 'neuroxai\[prepare\]'.*or choose 'auto'"):
        create("ants")
    found["itk"] = False
    with pytest.raises(InputError, match=r"antspyx, which is not installed; run `pip"):
        create("auto")
