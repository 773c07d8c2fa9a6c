"""What fits a network: measures against figures worked out by hand, and phantoms of known pose."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from neuroxai.derivatives.predictions import FAR, FITS
from neuroxai.errors import InputError, SpaceError, UnfitError
from neuroxai.evaluation.fit import FitRecord
from neuroxai.evaluation.fit_measures import CoarsePose, block_of, plateaus_of, summarise

SPACING = (8.0, 8.0, 8.0)
SHAPE = (24, 28, 24)


def head(seed: int = 0, turn: float = 0.0, shift: float = 0.0, tissue: float = 0.2) -> np.ndarray:
    """A brain-like blob: an ellipsoid, dark ventricles off the centre, some noise; turned about the first axis."""
    grid = (np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2) * 8.0
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    place = (grid - (shift, 0, 0)) @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]).T
    brain = np.clip(8 * (1 - np.sqrt(((place / (66, 85, 60)) ** 2).sum(-1))) + 0.5, 0, 1)  # parts of voxels at the edge
    dark = np.exp(-(((place - (0, 15, 20)) / (15, 30, 10)) ** 2).sum(-1))
    noise = np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    return (brain * (0.8 - 0.6 * dark - tissue * (place[..., 1] > 40) + noise)).astype(np.float32)


@pytest.fixture(scope="module")
def record():
    return FitRecord.of([summarise(head(seed), SPACING) for seed in range(8)], SPACING)


def test_measures_by_hand():
    image = np.zeros((4, 2, 2), np.float32)
    image[1:3] = 2.0  # two full planes between two empty ones
    image[2] = 4.0
    found = summarise(image, (16, 16, 16), plateaus=0.5)
    assert found.background == 0.5
    assert found.plateaus == 0.5
    # blocks of one voxel; the upper quartile of what is not 0 is 4, a block is full from 1.6
    assert block_of((16, 16, 16)) == (1, 1, 1)
    np.testing.assert_array_equal(found.presence[:, 0, 0], [0, 1, 1, 0])
    # only voxels above half of the upper quartile count as tissue: all are 4
    np.testing.assert_array_equal(found.quantiles, np.full(10, 4.0))
    assert block_of((1, 2, 4)) == (8, 4, 2)


def test_a_block_of_half_a_brain_is_full_and_a_rim_is_none():
    image = np.zeros((4, 4, 4), np.float32)
    image[:2, :, :2] = 1.0
    rim = image.copy()
    rim[2, :, :2] = 1e-4  # what interpolation leaves
    one, other = summarise(image, (4, 4, 4)), summarise(rim, (4, 4, 4))
    np.testing.assert_allclose(one.presence[:, :, 0], [[1, 1], [0, 0]])
    np.testing.assert_allclose(other.presence, one.presence, atol=1e-3)
    np.testing.assert_array_equal(other.quantiles, one.quantiles)


def test_plateaus_by_hand():
    assert plateaus_of(np.array([[[1, 1, 2, 0, 0]]])) == 0.5  # pairs 1-1 and 1-2; those with a 0 are not counted
    assert plateaus_of(np.zeros((2, 2, 2))) == 0.0
    assert plateaus_of(np.full((2, 2, 2), 7)) == 1.0
    # gone through a few planes at a time, however it lies in memory
    data = np.random.default_rng(0).integers(0, 3, (9, 6, 13))
    pairs = [(np.moveaxis(data, a, 0)[:-1], np.moveaxis(data, a, 0)[1:]) for a in range(3)]
    filled = [(one != 0) & (two != 0) for one, two in pairs]
    share = sum(int((f & (a == b)).sum()) for f, (a, b) in zip(filled, pairs, strict=True)) / sum(map(np.sum, filled))
    assert [plateaus_of(d) for d in (data, np.asfortranarray(data), data[::-1].T)] == [share] * 3


@pytest.mark.parametrize("degrees", [-20, -10, 0, 10, 20])
def test_a_turn_is_measured_in_degrees(degrees):
    mean = summarise(head(), SPACING)
    turned = summarise(head(1, turn=degrees), SPACING)
    found, shift = CoarsePose([mean.presence, mean.image], SPACING)([turned.presence, turned.image])
    assert found == pytest.approx(abs(degrees), abs=2)
    assert shift < 3


@pytest.mark.parametrize("mm", [-16, 8, 16])
def test_a_shift_is_measured_in_mm(mm):
    mean = summarise(head(), SPACING)
    moved = summarise(head(1, shift=mm), SPACING)
    degrees, found = CoarsePose([mean.presence, mean.image], SPACING)([moved.presence, moved.image])
    assert found == pytest.approx(abs(mm), abs=1.5)
    assert degrees < 1.5


@given(seed=st.integers(100, 10**6), gain=st.floats(0.7, 1.3), shift=st.floats(-2, 2), turn=st.floats(-2, 2))
def test_scans_like_the_training_scans_fit(record, seed, gain, shift, turn):
    found = record.compare(summarise(gain * head(seed, turn, shift), SPACING))
    assert (found.level, found.unlike) == (FITS, ()), found


def spoiled():
    scan = head(50)
    brain = scan != 0
    one = scan.copy()
    one[12, 14, 12] = 1e6
    cut = scan.copy()
    cut[:, :, 14:] = 0
    noise = np.random.default_rng(1).random(SHAPE)
    grey = np.where(brain, scan, 0.3)  # a skull, or a background that is not 0
    return {
        "turned": head(50, turn=20), "shifted": head(50, shift=20), "cut": cut, "noise": noise, "grey around": grey,
        "negative": -scan, "inverted": np.where(brain, 1 - scan, 0), "one voxel": one,
        "z-scored": (scan - scan.mean()) / scan.std(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(spoiled()))
def test_scans_unlike_the_training_scans_are_far(record, kind):
    found = record.compare(summarise(spoiled()[kind], SPACING))
    assert found.level == FAR, found
    assert found.unlike


def test_the_reason_names_figures(record):
    found = record.compare(summarise(head(50, turn=20), SPACING))
    assert any(
        re.fullmatch(r"it is turned by (19|20|21) degrees against the mean .* \(there 0\)", t) for t in found.unlike
    )
    label = record.compare(summarise(head(50), SPACING, plateaus=0.9))
    assert label.unlike == ("90% of neighbouring voxels are equal, as in labels (there 0%)",)


def test_a_zero_that_the_normalisation_moved_is_still_background(record):
    """A network that takes z-scores: brain voxels are negative too, the background stays 0."""

    def scaled(scan):
        inside = scan[scan != 0]
        zero = (float(-inside.mean() / inside.std()), 0.0)
        return summarise(np.where(scan != 0, (scan - inside.mean()) / inside.std(), 0), SPACING, 0.0, zero)

    known = FitRecord.of([scaled(head(seed)) for seed in range(8)], SPACING)
    np.testing.assert_allclose(known.presence, record.presence, atol=1e-5)
    assert known.compare(scaled(head(60))).level == FITS
    assert known.compare(scaled(np.where(head(60) != 0, head(60), 0.3))).level == FAR


def test_a_record_comes_back_from_json(record):
    again = FitRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    np.testing.assert_allclose(again.presence, record.presence, atol=1 / 255)
    np.testing.assert_allclose(again.image, record.image, atol=np.ptp(record.image) / 255)
    for scan in (head(50), head(50, turn=10)):
        one, other = record.compare(summarise(scan, SPACING)), again.compare(summarise(scan, SPACING))
        assert other.distance == pytest.approx(one.distance, abs=0.1)
    assert len(json.dumps(record.to_dict())) < 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3}, {"presence": None}, {"image": {"low": 0, "high": 1, "bytes": "AAAA"}}, {"centre": {}},
        {"quantiles": [1]}, {"shape": [1, 1]}, {"spacing": [0, 0, 0]}, {"scans": "many"},
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(record, change):
    with pytest.raises(InputError):
        FitRecord.from_dict({**record.to_dict(), **change})
    with pytest.raises(InputError):
        FitRecord.from_dict([])


def test_what_cannot_be_measured_is_refused(record):
    with pytest.raises(UnfitError, match="1 of 16128 voxels are not finite"):
        summarise(np.where(np.arange(16128).reshape(SHAPE) == 5, np.inf, 1.0), SPACING)
    with pytest.raises(UnfitError, match="nothing but zeros"):
        summarise(np.zeros(SHAPE), SPACING)
    with pytest.raises(SpaceError, match="grid of"):
        record.compare(summarise(head()[:-1], SPACING))
    with pytest.raises(InputError, match="got 1, expected 2 or more"):
        FitRecord.of([summarise(head(), SPACING)], SPACING)


def another_contrast(seed):
    """The same brain, whose front is the brightest and whose ventricles are the darkest all the same."""
    scan = head(seed, tissue=0.0)
    back = (np.indices(SHAPE)[1] < 14) & (scan > 0.5)
    return np.where(back, 0.75 * scan, scan)


def test_another_order_of_tissues_is_another_kind_of_scan(record):
    """Against scipy's rank correlation over the blocks that all training brains fill."""
    scans = [head(seed, tissue=0.4) for seed in range(8)]
    known = FitRecord.of([summarise(scan, SPACING) for scan in scans], SPACING)
    other = summarise(another_contrast(50), SPACING)
    found = known.compare(other)
    core = known.presence > 0.95
    expected = spearmanr(other.image[core], known.image[core]).statistic
    assert found.measures["contrast"] == pytest.approx(expected, abs=0.01)  # ties aside
    assert expected < 0.3
    assert known.compare(summarise(head(50, tissue=0.4), SPACING)).measures["contrast"] > 0.7
    assert found.level == FAR
    assert any(f"rank correlation of {expected:.2f}" in reason for reason in found.unlike)


def test_a_record_of_the_first_format_is_read_without_what_it_does_not_know(record):
    values = record.to_dict()
    old = {
        **values,
        "format": 1,
        **{k: {n: v for n, v in values[k].items() if n != "contrast"} for k in ("centre", "spread")},
    }
    again = FitRecord.from_dict(json.loads(json.dumps(old)))
    assert set(record.centre) - set(again.centre) == {"contrast"}
    assert again.compare(summarise(head(50), SPACING)).level == FITS
    assert again.to_dict()["format"] == 1
    with pytest.raises(InputError, match="format 3, expected 2 or 1"):
        FitRecord.from_dict({**values, "format": 3})
