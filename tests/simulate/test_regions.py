from __future__ import annotations

import numpy as np
import pytest

from neuroxai.io import read_labels
from neuroxai.simulate import Anatomy, mni152_anatomy, regions
from neuroxai.space import Volume

MAKERS = [
    regions.hippocampus,
    regions.amygdala,
    regions.parahippocampal,
    regions.lateral_ventricle,
    regions.temporal_fluid,
    regions.inferior_horn,
]


@pytest.fixture(scope="module")
def anatomy():
    return mni152_anatomy().cropped()


def centre(roi, space):
    voxels = np.argwhere(roi > 0.5) if (roi > 0.5).any() else np.argwhere(roi > 0.5 * roi.max())
    return space.world(voxels).mean(0)


@pytest.mark.parametrize("make", MAKERS, ids=lambda f: f.__name__)
def test_left_is_left_and_values_are_fractions(make, anatomy):
    left, right = make(anatomy, -1), make(anatomy, 1)
    assert left.dtype == np.float32
    assert left.min() >= 0
    assert left.max() <= 1
    assert centre(left, anatomy.space)[0] < -8
    assert centre(right, anatomy.space)[0] > 8


@pytest.mark.parametrize("orientation", ["LIA", "PSR"])
def test_regions_stay_in_the_world_when_the_anatomy_is_stored_otherwise(anatomy, orientation):
    def turned(values):
        return Volume(values, anatomy.space).reoriented(orientation)

    t1 = turned(anatomy.t1)
    other = Anatomy("turned", t1.space, t1.data, *(turned(m).data for m in (anatomy.gm, anatomy.wm, anatomy.brain)))
    for make in (regions.hippocampus, regions.lateral_ventricle):
        back = Volume(make(other, -1), other.space).reoriented("RAS")
        assert back.space.matches(anatomy.space)
        assert np.abs(back.data - make(anatomy, -1)).max() < 1e-5


def test_structures_do_not_overlap(anatomy):
    total = regions.hippocampus(anatomy, 1) + regions.amygdala(anatomy, 1) + regions.parahippocampal(anatomy, 1)
    assert total.max() < 1.15


def test_ventricles_are_dark_and_hippocampus_is_grey(anatomy):
    assert anatomy.t1[regions.lateral_ventricle(anatomy, -1) > 0.8].mean() < 0.4
    assert 0.5 < anatomy.t1[regions.hippocampus(anatomy, -1) > 0.8].mean() < 0.75


@pytest.mark.real
@pytest.mark.parametrize(
    ("make", "image", "left", "right", "least"),
    [
        (regions.hippocampus, "sub", 9, 19, 0.7),
        (regions.amygdala, "sub", 10, 20, 0.5),
        (regions.lateral_ventricle, "sub", 3, 14, 0.7),
    ],
)
def test_overlap_with_harvard_oxford(real_data, anatomy, make, image, left, right, least):
    # the value in the image is the index in the XML file plus one
    atlas = read_labels(real_data / "atlases" / f"HarvardOxford-{image}-maxprob-thr25-1mm.nii.gz")
    labels = atlas.resampled_to(anatomy.space, order=0).data
    for side, own, other in ((-1, left, right), (1, right, left)):
        ours = make(anatomy, side) > 0.5
        theirs = labels == own
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > least
        assert not (ours & (labels == other)).any()


@pytest.mark.real
def test_parahippocampal_region_lies_in_the_parahippocampal_gyrus(real_data, anatomy):
    atlas = read_labels(real_data / "atlases" / "HarvardOxford-cort-maxprob-thr25-1mm.nii.gz")
    gyrus = np.isin(atlas.resampled_to(anatomy.space, order=0).data, [34, 35])
    for side in (-1, 1):
        ours = regions.parahippocampal(anatomy, side) > 0.5
        # Harvard-Oxford's gyrus takes in white matter and hippocampal borders, so precision is what counts
        assert (ours & gyrus).sum() / ours.sum() > 0.7
