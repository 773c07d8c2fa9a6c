"""Small brain scans made from the template, off its grid: for preparation without real data."""

import os
import signal

import numpy as np
from scipy.spatial.transform import Rotation

from neuroxai import io
from neuroxai.simulate import mni152_anatomy
from neuroxai.space import Space, Volume

SPOT = (28.0, 36.0, 20.0)
"""Where in MNI152 (mm) the brains have a dark spot: right, front, top."""


def brain(orientation="LPS", spacing=3.0, shift=(7.0, -5.0, 9.0), seed=0, degrees=0.0):
    """The template's brain with a dark spot and noise of its own, turned about an oblique axis, moved by `shift` mm."""
    anatomy = mni152_anatomy()
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (-90.0, -126.0, -72.0)
    grid = Space([int(180 / spacing), int(216 / spacing), int(180 / spacing)], affine)
    t1 = Volume(np.where(anatomy.brain, anatomy.t1, 0).astype(np.float32), anatomy.space).resampled_to(grid)
    distance = np.linalg.norm(grid.world(np.stack(np.indices(grid.shape), -1)) - SPOT, axis=-1)
    data = np.where(distance < 8, np.float32(0.4), t1.data) * (t1.data > 0.1)
    noise = np.random.default_rng(seed).normal(1.0, 0.02, grid.shape).astype(np.float32)
    moved = pose_of(degrees, shift) @ affine
    return Volume(np.asarray(500 * data * noise, np.float32), Space(grid.shape, moved)).reoriented(orientation)


def pose_of(degrees, shift):
    """From MNI152 to the scanner's world: a turn about an oblique axis, then a shift."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.48, 0.64])).as_matrix()
    pose[:3, 3] = shift
    return pose


def bids_of(folder, count=3, **options):
    """A BIDS folder of `count` such scans with participants.tsv."""
    lines = ["participant_id\tdiagnosis\tage\tsex"]
    for number in range(1, count + 1):
        name = f"sub-{number:02d}"
        target = folder / name / "anat" / f"{name}_T1w.nii.gz"
        target.parent.mkdir(parents=True)
        io.write_volume(target, brain(seed=number, **options))
        lines.append(f"{name}\t{'AD' if number % 2 else 'CN'}\t{60 + number}\t{'F' if number % 2 else 'M'}")
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def die_for_the_second(*_, title, **__):
    """In place of a quality figure: what a crash inside a library does. Here, as processes must find it by name."""
    if title.split()[0] == "sub-02":
        os.kill(os.getpid(), signal.SIGKILL)


def left_block(space):
    """A ball of 14 mm in the left hemisphere's white matter (x < 0)."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij"), -1)
    return np.linalg.norm(space.world(grid) - (-28.0, -10.0, 26.0), axis=-1) < 14.0
