"""Study 3: agreement between trainings, pair by pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from helpers.runs import REGIONS, SPACE, VOXELS, Runs
from helpers.studies import declared
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study
from neuroxai.studies.analyses import eitelritter2019
from neuroxai.studies.analyses.eitelritter2019 import jackknife, pair_mean

COHORTS = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}
EXPLAIN = {"steady": {"method": "lrp_zero"}, "wild": {"method": "saliency"}}
TRUE, P = [0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]


def study_of(tmp_path, **changes):
    values = {"arms": {"network": {}}, "explain": EXPLAIN, "repetitions": 5, "statistics": {"top": 2}, **changes}
    return read_study(declared(tmp_path / "mine.yaml", analysis="eitelritter2019", cohorts=COHORTS, **values))


def build(tmp_path, rng, count=5, **changes):
    made = Runs(tmp_path / "study", study_of(tmp_path, **changes))
    base, order = rng.uniform(1, 2, SPACE.shape), np.arange(len(REGIONS), 0, -1.0)
    kept = []
    for repetition in range(count):
        steady = np.tile(order + rng.normal(0, 0.01, len(REGIONS)), (6, 1))
        wild = np.tile(rng.permutation(order), (6, 1))
        maps = {
            "steady": {c: base + rng.normal(0, 0.01, SPACE.shape) for c in ("TP", "TN")},
            "wild": {"TP": rng.uniform(1, 2, SPACE.shape)},
        }
        made.add(
            "network",
            repetition=repetition,
            true=TRUE,
            probability=P,
            explained={"steady": steady, "wild": wild},
            maps=maps,
        )
        kept.append((steady, wild, maps))
    return made, kept


def test_the_steady_method_agrees_with_itself_more(tmp_path, rng):
    made, _ = build(tmp_path, rng)
    found = eitelritter2019.analyse(made.results)
    table = found.tables["agreement_between_runs"].set_index("method")
    assert (table.loc["steady"].filter(like="overlap, sum") >= table.loc["wild"].filter(like="overlap, sum")).all()
    assert (
        table.loc["steady", "L2 distance of average heatmaps, TP"]
        < table.loc["wild", "L2 distance of average heatmaps, TP"]
    )
    assert "steady names the same leading regions most often" in found.answers[0]
    assert "nearest to each other with steady" in found.answers[1]


def test_distances_are_the_formula(tmp_path, rng):
    made, kept = build(tmp_path, rng)
    found = eitelritter2019.analyse(made.results)
    row = next(r for r in found.figures if (r.quantity, r.group) == ("L2 distance of average heatmaps, TP", "wild"))
    maps = [m["wild"]["TP"].astype(np.float32) for _, _, m in kept]
    wanted = np.mean(
        [np.sqrt(((a / a.max() - b / b.max()) ** 2).sum(dtype=np.float64)) for a, b in combinations(maps, 2)]
    )
    assert row.value == pytest.approx(wanted, rel=1e-5)
    assert row.low < row.value < row.high
    made, _ = build(tmp_path / "sum", np.random.default_rng(20), options={"scale": "sum"})
    other = next(
        r for r in eitelritter2019.analyse(made.results).figures if r.quantity == row.quantity and r.group == "wild"
    )
    assert other.value < row.value / 100


def test_a_run_without_a_group_is_told(tmp_path, rng):
    made, _ = build(tmp_path, rng)
    row = next(r for r in eitelritter2019.analyse(made.results).figures if (r.quantity[-2:], r.group) == ("TN", "wild"))
    assert row.value is None
    assert "a run has no TN" in row.note


def test_overlaps_are_counted_pair_by_pair(tmp_path, rng):
    made, kept = build(tmp_path, rng)
    found = eitelritter2019.analyse(made.results)

    def leading(sums, density):
        joined = np.array([sums[0, 0] + sums[0, 1], *sums[0, 2:]])
        voxels = np.array([VOXELS[0] + VOXELS[1], *VOXELS[2:]])
        values = joined[:4] / voxels[:4] if density else joined
        return set(np.argsort(-values)[:2].tolist())

    for measure, density in (("sum", False), ("density", True)):
        row = next(
            r for r in found.figures if (r.quantity, r.group) == (f"overlap of top 2 regions, {measure}", "wild")
        )
        sets = [leading(wild, density) for _, wild, _ in kept]
        assert row.value == pytest.approx(np.mean([50 * len(a & b) for a, b in combinations(sets, 2)]))


def test_few_runs_have_no_interval(tmp_path, rng):
    made, _ = build(tmp_path, rng, count=3)
    found = eitelritter2019.analyse(made.results)
    assert all(r.low is None for r in found.figures if r.quantity.startswith("L2"))
    assert any("too few for intervals" in text for text in found.doubts)
    made, _ = build(tmp_path / "one", rng, count=1)
    assert any("nothing can be compared" in text for text in eitelritter2019.analyse(made.results).doubts)


def test_the_jackknife_is_its_slow_formula(rng):
    from scipy.stats import t

    matrix = rng.uniform(size=(6, 6))
    matrix = matrix + matrix.T
    whole = np.mean([matrix[i, j] for i, j in combinations(range(6), 2)])
    assert pair_mean(matrix) == pytest.approx(whole)
    pseudo = [
        6 * whole - 5 * np.mean([matrix[i, j] for i, j in combinations([n for n in range(6) if n != k], 2)])
        for k in range(6)
    ]
    half = t.ppf(0.975, 5) * np.std(pseudo, ddof=1) / np.sqrt(6)
    assert jackknife(matrix, 0.95) == pytest.approx((whole - half, whole + half))
    assert jackknife(np.ones((5, 5)), 0.95) == (None, None)


def test_the_jackknife_covers(rng):
    # a measure between runs that depends on each run's own value: its expectation is known, 2
    hits = 0
    for _ in range(300):
        own = rng.exponential(size=10)
        low, high = jackknife(own[:, None] + own[None], 0.95)
        hits += low <= 2 <= high
    assert 0.86 <= hits / 300 <= 0.99


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repetitions": 1}, "expected 2 or more trainings"),
        ({"split": {"repeats": 2}}, "expected one of each"),
        ({"options": {"scale": "max"}}, "'max'"),
        ({"options": {"scaling": "sum"}}, "'scaling'"),
        ({"explain": {}}, "there is none"),
    ],
)
def test_what_is_lacking_is_told(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        check(study_of(tmp_path, **changes))
