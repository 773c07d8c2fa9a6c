"""Cohorts with filled lesions: nothing else changes, what is finished is kept, one bad scan stops nobody."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.preprocess.lesions import lesion_mask
from neuroxai.simulate import simulate_cohort
from neuroxai.space import Volume
from neuroxai.studies.cohort_folder import CohortFolder
from neuroxai.studies.filling import make_filled


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of a 6 mm FLAIR cohort, two with lesions."""
    folder = tmp_path_factory.mktemp("filling") / "main"
    simulate_cohort(folder, "lesions", 4, spacing=6.0, seed=3)
    return folder


def scan(folder: Path, name: str) -> Path:
    return next((folder / name / "anat").glob("*_FLAIR.nii.gz"))


def mask(folder: Path, name: str) -> Path:
    return next((folder / name / "anat").glob("*_desc-effect_mask.nii.gz"))


@pytest.mark.parametrize("variant", ["valverde", "eitel2019"])
def test_no_voxel_outside_the_mask_changes(cohort, tmp_path, variant):
    made = make_filled(CohortFolder("main", cohort, {}), tmp_path / "out", "main-filled", variant)
    assert made.key == "main-filled"
    assert made.failed == ()
    assert made.folder == (tmp_path / "out").resolve()
    patients = 0
    for name in ("sub-0001", "sub-0002", "sub-0003", "sub-0004"):
        before, after = io.read_volume(scan(cohort, name)), io.read_volume(scan(made.folder, name))
        drawn = io.read_labels(mask(cohort, name))
        where = lesion_mask(before.space, drawn, variant)
        assert np.array_equal(before.data[~where], after.data[~where])
        assert after.space.matches(before.space)
        # the truth comes along
        assert np.array_equal(io.read_labels(mask(made.folder, name)).data, drawn.data)
        if where.any():
            patients += 1
            assert (after.data[where] != before.data[where]).mean() > 0.99
        else:
            assert scan(made.folder, name).read_bytes() == scan(cohort, name).read_bytes()
    assert patients == 2
    assert io.sha256(made.folder / "participants.tsv") == io.sha256(cohort / "participants.tsv")


def test_what_is_finished_is_kept_and_what_is_wanting_made_again_alike(cohort, tmp_path):
    source, out = CohortFolder("main", cohort, {}), tmp_path / "out"
    said: list[tuple[int, int]] = []
    make_filled(source, out, "k", "valverde", progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (4, 4)
    first, other = scan(out, "sub-0002"), scan(out, "sub-0004")
    content, time = first.read_bytes(), os.stat(other).st_mtime_ns
    # as if it had been killed before the scan was whole
    first.unlink()
    make_filled(source, out, "k", "valverde")
    assert first.read_bytes() == content
    assert os.stat(other).st_mtime_ns == time
    with pytest.raises(InputError, match="'valverde', now 'eitel2019'"):
        make_filled(source, out, "k", "eitel2019")


def test_masks_by_template_and_one_bad_scan(cohort, tmp_path):
    table = io.read_tsv(cohort / "participants.tsv")
    (bad, good), (healthy, _) = (table[table["diagnosis"] == d]["participant_id"] for d in ("MS", "HC"))
    for name in (bad, good):
        drawn = io.read_labels(mask(cohort, name))
        if name == bad:  # inverted: no mask of lesions
            drawn = Volume(1 - (drawn.data > 0), drawn.space)
        io.write_volume(tmp_path / "masks" / f"{name}.nii.gz", drawn, dtype=np.uint8)
    template = str(tmp_path / "masks" / "{participant}.nii.gz")
    made = make_filled(CohortFolder("main", cohort, {}), tmp_path / "out", "k", "valverde", template)
    (failed,) = made.failed
    assert failed.startswith(f"{bad}: ")
    assert "inverted" in failed
    assert not list((made.folder / bad).rglob("*_FLAIR.nii.gz"))
    # nobody drew lesions for the healthy
    assert scan(made.folder, healthy).read_bytes() == scan(cohort, healthy).read_bytes()
    assert scan(made.folder, good).read_bytes() != scan(cohort, good).read_bytes()
    with pytest.raises(InputError, match="matches no file, so there is nothing to fill"):
        make_filled(
            CohortFolder("main", cohort, {}),
            tmp_path / "other",
            "k",
            "valverde",
            str(tmp_path / "no" / "{participant}"),
        )
