from __future__ import annotations

import numpy as np
import pytest

from neuroxai.compare.scores import Region
from neuroxai.report.cohort.averages import Averages, Fingerprints, gain, groups_of, scaled_scan
from neuroxai.report.cohort.truth import Truth, mask_beside, spread
from neuroxai.report.scan.pages import top_regions
from neuroxai.report.values import ScanLink
from neuroxai.space import Space, Volume

SPACE = Space((3, 4, 2), np.diag([4.0, 4, 4, 1]))


def test_gain_is_patients_over_controls_and_guards_the_division():
    assert gain({"patients": 3.0, "controls": 2.0}) == 1.5
    assert gain({"patients": -3.0, "controls": 2.0}) == -1.5
    for controls in (0.0, -1.0, None, 5e-324):
        assert gain({"patients": 3.0, "controls": controls}) is None
    assert gain({"patients": None, "controls": 1.0}) is None


def test_groups():
    assert groups_of("TP") == ["all", "TP", "patients"]
    assert groups_of("FN") == ["all", "FN", "patients"]
    assert groups_of("FP") == ["all", "FP", "controls"]
    assert groups_of("") == ["all"]


def test_top_regions_take_ten_by_sign():
    regions = [Region(f"r{n:02}", float(n - 12), float(12 - n) / 3, 3) for n in range(25)]
    top = top_regions(regions)
    assert [r.sum for r in top["sum for"]] == list(range(12, 2, -1))
    assert [r.sum for r in top["sum against"]] == list(range(-12, -2))
    assert [r.name for r in top["density for"]] == [f"r{n:02}" for n in range(10)]
    assert top_regions([]) == {}


def test_brain_is_where_the_mean_scan_is_above_zero(rng):
    averages = Averages(SPACE)
    first, second = np.zeros(SPACE.shape), np.zeros(SPACE.shape)
    first[0, 0, 0], first[1, 1, 1], second[1, 1, 1], second[2, 3, 0] = 50, 100, 9, 3
    third = np.zeros(SPACE.shape)
    third[1, 1, 1] = 1
    for data in (first, second, third):
        averages.add(Volume(np.zeros(SPACE.shape), SPACE), Volume(data, SPACE).reoriented("LPS"), [], ["all"])
    assert np.argwhere(averages.brain()).tolist() == [[0, 0, 0], [1, 1, 1], [2, 3, 0]]
    assert np.argwhere(averages.core_brain()).tolist() == [[1, 1, 1]]
    assert averages.scans.mean("all")[0, 0, 0] == pytest.approx(0.5 / 3)


def test_scaling_uses_minimum_and_maximum():
    data = np.arange(24, dtype=np.float32).reshape(SPACE.shape) - 7
    scaled = scaled_scan(Volume(data, SPACE)).data
    assert (scaled.min(), scaled.max()) == (0, 1)
    np.testing.assert_allclose(scaled, np.arange(24).reshape(SPACE.shape) / 23, rtol=1e-6)


def test_region_means_and_order():
    averages = Averages(SPACE)
    zero = Volume(np.zeros(SPACE.shape), SPACE)
    averages.add(zero, None, [Region("a", 1.0, 0.1, 10), Region("b", 5.0, 0.5, 10)], ["patients"])
    averages.add(zero, None, [Region("a", 3.0, 0.3, 10), Region("b", 7.0, 0.7, 10)], ["patients"])
    averages.add(zero, None, [Region("a", 4.0, 0.4, 10), Region("b", 0.0, 0.0, 10)], ["controls"])
    b, a = averages.region_means(["patients", "controls"])
    assert (b.name, b.sums, b.gain) == ("b", {"patients": 6.0, "controls": 0.0}, None)
    assert (a.name, a.gain, a.densities["patients"]) == ("a", 0.5, pytest.approx(0.2))


def test_gains_of_next_to_nothing_are_left_out():
    zero = Volume(np.zeros(SPACE.shape), SPACE)
    averages, sure = Averages(SPACE), Averages(SPACE)
    for a in (4.0, 0.0):  # mean 2, standard error 2
        averages.add(zero, None, [Region("a", a, 0.1, 10), Region("b", 1.0, 0.5, 10)], ["controls"])
        averages.add(zero, None, [Region("a", 3.0, 0.3, 10), Region("b", 7.0, 0.7, 10)], ["patients"])
        sure.add(zero, None, [Region("a", 1e-5, 0.1, 10)], ["controls"])
        sure.add(zero, None, [Region("a", 1.0, 0.1, 10)], ["patients"])
    assert {r.name: r.gain for r in averages.region_means(["patients", "controls"])} == {"b": 7.0, "a": None}
    assert averages.no_gains() == ""
    assert [r.gain for r in sure.region_means(["patients", "controls"])] == [None]
    assert "a control hold 1e-05 together, of a patient 1" in sure.no_gains()


def test_effect_is_what_half_of_the_patients_share(tmp_path):
    from neuroxai.io import write_volume

    truth = Truth(SPACE)
    for number, voxels in enumerate([[(0, 0, 0), (2, 1, 1)], [(0, 0, 0)], [(1, 2, 1), (2, 1, 1)], [(0, 3, 0)]]):
        data = np.zeros(SPACE.shape, np.uint8)
        for voxel in voxels:
            data[voxel] = 1
        path = tmp_path / f"sub-{number}_desc-effect_mask.nii.gz"
        write_volume(path, Volume(data, SPACE).reoriented("LIA"), dtype=np.uint8)
        truth.add_mask(path)
    truth.settle()
    # two of four have (0, 0, 0) and (2, 1, 1)
    assert np.argwhere(truth.effect).tolist() == [[0, 0, 0], [2, 1, 1]]


def test_mask_beside_a_scan(tmp_path):
    scan = tmp_path / "sub-01_ses-2_space-MNI152_res-4_desc-brain_T1w.nii.gz"
    assert mask_beside(scan) is None
    other = tmp_path / "sub-011_desc-effect_mask.nii.gz"
    other.touch()
    assert mask_beside(scan) is None
    loose = tmp_path / "sub-01_ses-2_desc-effect_mask.nii.gz"
    loose.touch()
    assert mask_beside(scan) == loose
    exact = tmp_path / "sub-01_ses-2_space-MNI152_res-4_desc-effect_mask.nii.gz"
    exact.touch()
    assert mask_beside(scan) == exact


def test_spread():
    assert spread([1, 2, 6]) == {"n": 3, "mean": 3.0, "sd": pytest.approx(7**0.5), "min": 1.0, "max": 6.0}
    assert spread([])["mean"] is None


def test_patterns_are_compared_as_shares_of_each_scans_relevance(rng):
    """Maps of the same pattern and any strength do not differ; Welch's t is scipy's where they do."""
    from scipy.stats import ttest_ind

    maps = rng.uniform(0.5, 1.5, (9, *SPACE.shape))
    maps[:5, 1, 2, 0] += 4
    averages, strong = Averages(SPACE), rng.uniform(1e-6, 1e3, 9)
    for n, data in enumerate(maps):
        averages.add(Volume(data * strong[n], SPACE), None, [], ["all", "patients" if n < 5 else "controls"])
    shares = maps / maps.sum(axis=(1, 2, 3), keepdims=True)
    expected = ttest_ind(shares[:5], shares[5:], equal_var=False).statistic
    np.testing.assert_allclose(averages.pattern_difference(), expected, rtol=1e-6)
    few = Averages(SPACE)
    few.add(Volume(maps[0], SPACE), None, [], ["patients"])
    assert few.pattern_difference() is None


def test_effects_are_of_shares_and_the_largest_first(rng):
    prints, links = Fingerprints(), []
    for n in range(8):
        strength = 10.0 ** rng.integers(-5, 5)
        sums = {"same": 1 + 0.1 * rng.random(), "more": (2.0 if n < 4 else 1) + 0.1 * rng.random()}
        prints.add(f"s{n}", [Region(name, strength * v, strength * v / 10, 10) for name, v in sums.items()])
        links.append(ScanLink(f"s{n}", "", "", "", 0.5, "TP" if n < 4 else "TN"))
    effects = prints.effects(links)
    assert effects["more"].low > 0
    assert effects["same"].high < 0  # its share is less where the other's is more
    values = [abs(effect.g) for effect in effects.values()]
    assert values == sorted(values, reverse=True)
    assert prints.effects(links[:4]) == {}


def test_fingerprints_colour_patterns_and_not_the_score(monkeypatch, rng):
    """Scans of one pattern have one row, however strong: by hand, (share - controls' mean) / their deviation."""
    drawn = []
    monkeypatch.setattr("neuroxai.report.cohort.averages.fingerprints", lambda scores, *_: drawn.append(scores) or b"")
    prints, links = Fingerprints(), []
    # share of region a: controls .2, .4, .6 (mean .4, deviation .2), the patient .8 on a million times the scale
    for n, share in enumerate((0.2, 0.4, 0.6, 0.8)):
        strength = 1e6 if n == 3 else 1.0
        sums = {"a": strength * share, "b": strength * (1 - share)}
        prints.add(f"s{n}", [Region(name, value, value / 10, 10) for name, value in sums.items()])
        links.append(ScanLink(f"s{n}", "", "", "", 0.1 * n, "TP" if n == 3 else "TN"))
    assert prints.figure(links) == (b"", 2)
    np.testing.assert_allclose(drawn[0], [[-1, 1], [0, 0], [1, -1], [2, -2]], atol=1e-9)
