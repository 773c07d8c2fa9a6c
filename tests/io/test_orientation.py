from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from neuroxai.errors import InputError
from neuroxai.io import read_orientation

AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 3, -18], [0, 0, 0, 1]])


def write(path, sform, qform):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), None)
    image.header.set_sform(sform, code=0 if sform is None else 1)
    image.header.set_qform(qform, code=0 if qform is None else 1)
    image.to_filename(path)
    return path


def test_both_agree(tmp_path):
    found = read_orientation(write(tmp_path / "a.nii.gz", AFFINE, AFFINE))
    assert found.known
    assert found.same_handedness
    assert found.disagreement == pytest.approx(0, abs=1e-4)
    assert found.shape == (2, 3, 4)


def test_a_qform_that_swaps_left_and_right(tmp_path):
    found = read_orientation(write(tmp_path / "a.nii", AFFINE, np.diag([-1.0, 1, 1, 1]) @ AFFINE))
    assert found.same_handedness is False
    # the corner at x = 20 mm stands at -20 mm
    assert found.disagreement == pytest.approx(40, abs=1e-3)


def test_one_or_none(tmp_path):
    only = read_orientation(write(tmp_path / "a.nii", None, AFFINE))
    assert only.sform is None
    np.testing.assert_allclose(only.qform, AFFINE, atol=1e-5)
    assert only.disagreement is None
    assert only.same_handedness is None
    with pytest.warns(UserWarning, match="neither sform nor qform"):
        neither = read_orientation(write(tmp_path / "b.nii", None, None))
    assert not neither.known


def test_other_formats_have_one_affine(tmp_path):
    nib.MGHImage(np.zeros((2, 3, 4), np.float32), AFFINE).to_filename(tmp_path / "a.mgz")
    found = read_orientation(tmp_path / "a.mgz")
    np.testing.assert_allclose(found.sform, AFFINE, atol=1e-5)
    assert found.known
    assert found.qform is None
    with pytest.raises(InputError, match="no such file"):
        read_orientation(tmp_path / "none.nii")
