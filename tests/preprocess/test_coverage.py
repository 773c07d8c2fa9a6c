"""Masks that leak, lack a part or hold islands are flagged, and sound ones not; docs print the limits in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from neuroxai.errors import SpaceError
from neuroxai.io import read_volume
from neuroxai.preprocess.qc.coverage import FAR, far_shares, pieces_share
from neuroxai.preprocess.qc.flags import flags, threshold_table, thresholds
from neuroxai.preprocess.qc.similarity import tissue_contrast
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, Volume

SPACE = Space((60, 60, 60), np.diag([2.0, 2.0, 2.0, 1.0]))


def ball(space, centre, radius):
    points = space.world(np.argwhere(np.ones(space.shape, bool))).reshape(*space.shape, 3)
    return np.linalg.norm(points - centre, axis=-1) < radius


@pytest.mark.parametrize("seed", range(8))
def test_far_parts_are_those_of_all_distances(seed):
    rng = np.random.default_rng(seed)
    shape, spacing = rng.integers(3, 30, 3), rng.choice([2.0, 2.2, 3.0, 5.0, 12.0], 3)
    one, two = (rng.random(shape) > share for share in (0.5, 0.995))
    two[0, 0, 0] = True
    space = Space(shape, np.diag([*spacing, 1.0]))
    far = one & (ndimage.distance_transform_edt(~two, sampling=spacing) > FAR)
    sizes = np.bincount(ndimage.label(far)[0].ravel())[1:]
    assert far_shares(Volume(one, space), Volume(two, space))[0] == sizes.max(initial=0) / one.sum()


def test_far_parts_by_hand():
    inner = np.zeros(SPACE.shape, bool)
    inner[10:30, 10:30, 10:30] = True
    outer = inner.copy()
    # a bar of 4 x 4 voxels, 40 mm long: voxels 1 to 20 beyond the face, of which 6 to 20 are more than 10 mm off
    outer[30:50, 12:16, 12:16] = True
    leak, missing = far_shares(Volume(outer, SPACE), Volume(inner, SPACE))
    assert leak == pytest.approx(15 * 16 / (8000 + 20 * 16))
    assert missing == 0
    assert far_shares(Volume(inner, SPACE), Volume(outer, SPACE)) == (0, pytest.approx(15 * 16 / (8000 + 20 * 16)))
    assert far_shares(Volume(np.zeros(SPACE.shape), SPACE), Volume(inner, SPACE)) == (0, 0)
    # on half the spacing every second voxel counts
    fine = Space((120, 120, 120), np.diag([1.0, 1.0, 1.0, 1.0]))
    twice = [Volume(np.kron(mask, np.ones((2, 2, 2))) > 0, fine) for mask in (outer, inner)]
    assert far_shares(*twice)[0] == pytest.approx(leak, rel=0.15)
    with pytest.raises(SpaceError, match="expected one"):
        far_shares(twice[0], Volume(inner, SPACE))


def test_islands_by_hand():
    mask = np.zeros((10, 10, 10), bool)
    mask[:5] = True
    assert pieces_share(mask) == 0
    mask[7, 7, 7:9] = True
    assert pieces_share(mask) == pytest.approx(2 / 502)


@pytest.fixture(scope="module")
def real(real_data):
    """A real brain's mask that neither leaks nor lacks anything, of the half from which no limit was chosen."""
    scan = read_volume(
        real_data / "cohorts" / "ds002748" / "sub-71" / "anat" / "sub-71_space-MNI152_res-2_desc-brain_T1w.nii.gz"
    )
    template = load_template(None, None)
    brain = Volume(template.brain.data.astype(np.float32), template.brain.space).resampled_to(scan.space)
    return scan.space, scan.data > 0, Volume(brain.data >= 0.5, scan.space)


@pytest.mark.real
@pytest.mark.parametrize(
    ("balls", "added", "code"),
    [
        ([], True, None),
        ([((0, 40, -38), 10), ((0, 52, -48), 12), ((0, 58, -56), 10)], True, "brain_leaks"),
        ([((0, -8, -58), 14), ((0, -4, -70), 14)], True, "brain_leaks"),
        ([((36, 66, -44), 12)], True, "brain_in_pieces"),
        ([((0, -20, 97), 8)], True, "brain_in_pieces"),
        ([((42, 10, -34), 24)], False, "brain_lacks"),
        ([((25, -66, -42), 30), ((-25, -66, -42), 30)], False, "brain_lacks"),
    ],
)
def test_faults_planted_into_a_real_mask_are_flagged(real, balls, added, code):
    space, mask, template_brain = real
    for centre, radius in balls:
        inside = ball(space, centre, radius)
        mask = mask | inside if added else mask & ~inside
    leak, missing = far_shares(Volume(mask, space), template_brain)
    found = {"brain_leak": leak, "brain_missing": missing, "brain_pieces_share": pieces_share(mask)}
    codes = {flag.code for flag in flags(found, thresholds("linear"))}
    assert codes == set() if code is None else code in codes, found
    assert not flags(found, thresholds("none")) or code == "brain_in_pieces"


def test_fluid_in_an_atrophied_brain_does_not_turn_a_flair_scan_into_t1w():
    """White matter .95, grey 1.05; where the template has grey matter, 60 % are fluid of .2."""
    template = np.repeat([1.0, 2.0, 3.0], 1000).reshape(3000, 1, 1) + np.linspace(0, 0.5, 3000).reshape(3000, 1, 1)
    flair = np.repeat([1.0, 1.05, 0.95], 1000).reshape(3000, 1, 1)
    where = np.ones(flair.shape, bool)
    assert tissue_contrast(flair, template, where) == pytest.approx(-0.1)
    flair[1000:1600] = 0.2
    assert tissue_contrast(flair, template, where) == pytest.approx(-0.1 / 0.95)


def test_the_docs_print_the_limits_in_use():
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "prepare.md").read_text("utf-8")
    assert "\n".join(threshold_table()) in page
