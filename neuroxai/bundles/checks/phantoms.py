"""A tiny cohort that takes a second to make and that any bundle can be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuroxai import io
from neuroxai.space import Volume, mni152

SPACING = 5.0  # mm; the coarsest grid that the published networks are tried on
TRAINING, VALIDATION, TEST = 12, 4, 4


def make_cohort(folder: Path, classes: Sequence[str] = ("CN", "AD")) -> Path:
    """Write twenty asymmetric phantoms on a 5 mm grid with a datalist; return the folder.

    Every second one, of the second class, has a bright blob on its left.

    Parameters
    ----------
    folder : pathlib.Path
        Where to write; made if absent.
    classes : sequence of str
        Names of the two classes.
    """
    space = mni152(SPACING)
    generator = np.random.default_rng(5)
    axes = np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij")
    world = space.world(np.stack(axes, axis=-1))
    inside = (((world - (0, -18, 10)) / (66, 85, 60)) ** 2).sum(axis=-1) < 1
    blob = np.exp(-(((world - (-30, -20, 0)) / 18) ** 2).sum(axis=-1))
    parts: dict[str, list[dict[str, object]]] = {"training": [], "validation": [], "test": []}
    for n in range(TRAINING + VALIDATION + TEST):
        label = n % 2
        image = inside * (0.5 + 0.5 * blob * label + generator.normal(0, 0.02, space.shape))
        name = f"sub-{n:02d}"
        path = f"{name}/anat/{name}_desc-brain_T1w.nii.gz"
        io.write_volume(folder / path, Volume(np.clip(image, 0, None).astype(np.float32), space))
        part = "training" if n < TRAINING else "validation" if n < TRAINING + VALIDATION else "test"
        parts[part].append({"image": path, "label": label, "participant_id": name})
    facts = {"description": "phantoms", "classes": list(classes), "target": "diagnosis", "seed": 5}
    io.write_json(folder / "datalist.json", {**facts, **parts})
    return folder


def half_of(cohort: Path, which: int, path: Path) -> Path:
    """Write a datalist of every second pair of a cohort's scans, in each part; return its path.

    The halves 0 and 1 are disjoint and hold both classes.
    """
    datalist = io.read_json(cohort / "datalist.json")
    for part in ("training", "validation", "test"):
        datalist[part] = [item for n, item in enumerate(datalist[part]) if n // 2 % 2 == which]
    io.write_json(path, datalist)
    return path
