"""One server for all tests that ask one over HTTP."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from helpers.foreign import make_foreign
from helpers.label_server import Server
from neuroxai import io
from neuroxai.space import Space


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, trained_bundle):
    """A folder with one of ours, one of other people's, one untrained, and something else."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(trained_bundle, folder / "alzheimers")
    make_foreign(folder / "foreign", scaling="NormalizeIntensityd")  # values below 0 and above 1
    shutil.copytree(trained_bundle, folder / "untrained", ignore=shutil.ignore_patterns("models"))
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, bundles, tiny_cohort):
    one = Server(bundles, tiny_cohort, tmp_path_factory.mktemp("server"))
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="session")
def scan(tiny_cohort, tmp_path_factory):
    """A patient's scan on an oblique grid of its own."""
    volume = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    affine = np.array([[-4.0, 0.3, 0, 0], [0.4, 5, 0.2, 0], [0, -0.3, 6, 0], [0, 0, 0, 1.0]])
    shape = (50, 48, 34)
    affine[:3, 3] = volume.space.world((np.array(volume.space.shape) - 1) / 2) - affine[:3, :3] @ (np.array(shape) / 2)
    path = tmp_path_factory.mktemp("scan") / "sub-17_T1w.nii.gz"
    io.write_volume(path, volume.resampled_to(Space(shape, affine)))
    return path
