"""Prepared once for all tests of the room."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.brains import left_block
from neuroxai.simulate import Acquisition
from neuroxai.simulate.cohort import _prepared
from neuroxai.space import mni152


@pytest.fixture(scope="session")
def atrophy():
    return _prepared("atrophy")


@pytest.fixture(scope="session")
def lesions():
    from neuroxai.simulate import Lesions, mni152_anatomy

    return Lesions(mni152_anatomy())


@pytest.fixture(scope="session")
def atrophy_8mm(atrophy):
    return Acquisition(atrophy, mni152(8))


@pytest.fixture(scope="session")
def lesions_8mm(lesions):
    return Acquisition(lesions, mni152(8))


@pytest.fixture
def seed():
    return np.random.SeedSequence(11, spawn_key=(1, 3))


@pytest.fixture(scope="session")
def prepared_scan():
    """A prepared scan at 4 mm: the template, brain only, 300 in white matter; a bright block on the left."""
    from neuroxai.simulate import mni152_anatomy
    from neuroxai.space import Volume

    anatomy = mni152_anatomy()
    space = mni152(4)
    brain = Volume(anatomy.brain.astype(np.float32), anatomy.space).resampled_to(space).data > 0.5
    data = Volume(anatomy.t1, anatomy.space).resampled_to(space).data
    return Volume((np.where(brain, data, 0.0) * 300 / 0.95).astype(np.float32), space)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, prepared_scan):
    """A folder of three healthy people and one patient, in three orientations, with label maps of a left block."""
    from neuroxai.io import write_text, write_volume
    from neuroxai.space import Volume

    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(5)
    lines = ["participant_id\tgroup\tage\tsex"]
    for number, (group, orientation) in enumerate(
        (("control", "RAS"), ("patients", "RAS"), ("control", "LAS"), ("control", "PSR")), start=1
    ):
        name = f"sub-{number:02d}"
        noise = rng.normal(1.0, 0.02, prepared_scan.data.shape).astype(np.float32)
        scan = Volume(prepared_scan.data * noise, prepared_scan.space).reoriented(orientation)
        write_volume(folder / name / "anat" / f"{name}_space-MNI152_desc-brain_T1w.nii.gz", scan)
        block = Volume(left_block(prepared_scan.space).astype(np.int32) * 17, prepared_scan.space)
        write_volume(
            folder / name / "anat" / f"{name}_space-MNI152_dseg.nii.gz", block.reoriented(orientation), dtype=np.int32
        )
        lines.append(f"{name}\t{group}\t{30 + number}\t{'FM'[number % 2]}")
    write_text(folder / "participants.tsv", "\n".join(lines) + "\n")
    return folder
