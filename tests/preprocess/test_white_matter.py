from __future__ import annotations

import numpy as np
import pytest

from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess.lesions import white_matter
from neuroxai.space import Space, Volume

SHAPE = (40, 44, 36)
SPACE = Space(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))


def brain_of(means, seed=0):
    """A ball of three shells: fluid inside, then white matter, then grey; (scan, brain, truth)."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(SHAPE)
    radius = np.sqrt((x - 19) ** 2 + (y - 22) ** 2 + (z - 17) ** 2)
    data = np.zeros(SHAPE, dtype=np.float32)
    for limit, mean in zip((16, 12.5, 5), means, strict=True):
        data[radius < limit] = mean
    data[radius < 16] += rng.normal(0, 4, int((radius < 16).sum()))
    data[20:24, 10:14, 15:19] = 250  # a lesion in the white matter
    return Volume(data, SPACE), Volume(radius < 16, SPACE), (radius < 12.5) & (radius >= 5) & (data < 240)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL"])
def test_t1w_is_the_brightest_tissue(orientation):
    scan, brain, truth = brain_of((60, 100, 20))
    found = white_matter(scan.reoriented(orientation), brain.reoriented(orientation))
    assert dice(Volume(found, scan.space.reoriented(orientation)).reoriented("RAS").data, truth) > 0.9


def test_flair_is_the_commonest_tissue_below_grey():
    scan, brain, truth = brain_of((120, 100, 20))
    found = white_matter(scan, brain, modality="FLAIR")
    # grey matter is commoner here than white: its peak is taken where no prior tells them apart
    assert found.sum() > 0
    assert not (found & (scan.data > 240)).any()
    prior = Volume(truth.astype(np.float32), SPACE)
    assert dice(white_matter(scan, brain, prior, "FLAIR"), truth) > 0.97


def test_a_prior_drops_lesions_and_what_is_not_of_its_kind():
    scan, brain, truth = brain_of((60, 100, 20))
    prior = np.zeros(SHAPE, dtype=np.float32)
    x, y, z = np.indices(SHAPE)
    radius = np.sqrt((x - 19) ** 2 + (y - 22) ** 2 + (z - 17) ** 2)
    prior[(radius < 14) & (radius > 4)] = 0.8  # too large on both sides
    found = white_matter(scan, brain, Volume(prior, SPACE))
    assert not (found & (scan.data > 240)).any()
    assert not (found & (scan.data < 80)).any()
    assert dice(found, truth) > 0.95
    # on another grid of the same world
    other = Volume(prior, SPACE).reoriented("PIR")
    np.testing.assert_array_equal(white_matter(scan, brain, other), found)


def test_refusals():
    scan, brain, _ = brain_of((60, 100, 20))
    with pytest.raises(InputError, match="unknown modality 'T2w'"):
        white_matter(scan, brain, modality="T2w")
    with pytest.raises(SpaceError, match="differ"):
        white_matter(scan, Volume(np.ones((2, 2, 2)), Space((2, 2, 2), np.eye(4))))
    with pytest.raises(InputError, match="empty or the brain has no contrast"):
        white_matter(scan, Volume(np.zeros(SHAPE), SPACE))
    with pytest.raises(InputError, match=r"nowhere above .5 inside the brain"):
        white_matter(scan, brain, Volume(np.zeros(SHAPE), SPACE))
