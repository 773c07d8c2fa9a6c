"""Small brain scans made from the template, off its grid: for preparation without real data."""

import os
import signal

import numpy as np

from neuroxai import io
from neuroxai.simulate import mni152_anatomy
from neuroxai.space import Space, Volume


def brain(orientation="LPS", spacing=3.0, shift=(7.0, -5.0, 9.0), seed=0):
    """The template's brain with a dark spot in its right frontal lobe and noise of its own, moved by `shift` mm."""
    anatomy = mni152_anatomy()
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (-90.0, -126.0, -72.0)
    grid = Space([int(180 / spacing), int(216 / spacing), int(180 / spacing)], affine)
    t1 = Volume(np.where(anatomy.brain, anatomy.t1, 0).astype(np.float32), anatomy.space).resampled_to(grid)
    distance = np.linalg.norm(grid.world(np.stack(np.indices(grid.shape), -1)) - (28.0, 36.0, 20.0), axis=-1)
    data = np.where(distance < 8, np.float32(0.4), t1.data) * (t1.data > 0.1)
    noise = np.random.default_rng(seed).normal(1.0, 0.02, grid.shape).astype(np.float32)
    moved = affine.copy()
    moved[:3, 3] += shift
    return Volume(np.asarray(500 * data * noise, np.float32), Space(grid.shape, moved)).reoriented(orientation)


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


def die_for_the_second(*_, name, **__):
    """In place of a quality figure: what a crash inside a library does. Here, as processes must find it by name."""
    if name == "sub-02":
        os.kill(os.getpid(), signal.SIGKILL)
