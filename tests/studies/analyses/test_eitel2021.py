"""Study 5: steps to early stopping and ROC areas of networks with and without patch-individual filters."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.runs import SPACE, Runs
from helpers.studies import declared
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study
from neuroxai.studies.analyses import eitel2021
from neuroxai.studies.analyses.eitel2021 import change

COHORTS = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}
TRUE, P = [0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.4, 0.8, 0.9]
EXPLAIN = {"pif": {"method": "lrp_alpha_beta", "layer": "features.pif", "neurons": "all"}}


def study_of(tmp_path, **changes):
    values = {
        "arms": {"baseline": {}, "pif": {}},
        "options": {"compare": [["baseline", "pif"]]},
        "explain": EXPLAIN,
        "bundle": "brain_t1w_sex_pif_classification",
        **changes,
    }
    return read_study(declared(tmp_path / "mine.yaml", analysis="eitel2021", cohorts=COHORTS, **values))


def build(tmp_path, rng, faster=0.5, splits=6, epochs=5):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    values = {"baseline": [], "pif": []}
    for split in range(splits):
        for draw in range(3):
            for arm, factor in (("baseline", 1.0), ("pif", faster)):
                steps = int(factor * rng.integers(800, 1200))
                values[arm].append(steps)
                maps = {f"filter-{n:03d}": rng.normal(size=SPACE.shape) for n in range(2)} if arm == "pif" else {}
                explained = {"pif": np.ones((6, 6))} if arm == "pif" and draw == 1 else {}
                made.add(arm, split, 0, draw, true=TRUE, probability=P, chosen=draw == 1, steps=steps,
                         seconds=steps / 100,
                         epochs=epochs, drawn={"batch_size": 4}, explained=explained, maps={"pif": maps})  # fmt: skip
    return made, {arm: np.array(v, float) for arm, v in values.items()}


def test_faster_learning_is_found_with_the_rank_sum_test(tmp_path, rng):
    from scipy.stats import ranksums

    made, values = build(tmp_path, rng)
    found = eitel2021.analyse(made.results)
    row = next(r for r in found.figures if r.quantity == "training steps to early stopping")
    assert row.value == pytest.approx(100 * (np.median(values["pif"]) / np.median(values["baseline"]) - 1))
    assert row.low < row.value < row.high < 0
    assert row.n == 36
    assert row.p == pytest.approx(ranksums(values["pif"], values["baseline"]).pvalue, rel=0.2)
    assert row.effect == -1
    assert "pif needs" in found.answers[0]
    assert "fewer training steps than baseline" in found.answers[0]


def test_no_difference_is_called_so(tmp_path, rng):
    made, _ = build(tmp_path, rng, faster=1.0)
    assert "do not tell whether there is a difference" in eitel2021.analyse(made.results).answers[0]


def test_slower_is_told_as_well(tmp_path, rng):
    made, _ = build(tmp_path, rng, faster=2.0)
    found = eitel2021.analyse(made.results)
    assert "more training steps than baseline" in found.answers[0]
    row = next(r for r in found.figures if r.quantity == "training steps to early stopping")
    assert row.effect == 1


def test_seconds_stand_apart(tmp_path, rng):
    made, values = build(tmp_path, rng)
    found = eitel2021.analyse(made.results)
    assert not any("seconds" in row.quantity for row in found.figures)
    (row,) = found.tables["timing_convergence"].to_dict("records")
    assert row["value"] == pytest.approx(100 * (np.median(values["pif"]) / np.median(values["baseline"]) - 1))


def test_runs_that_reached_their_last_epoch_are_counted(tmp_path, rng):
    made, _ = build(tmp_path, rng, splits=2, epochs=30)
    assert "12 of 12 runs ended at their last epoch" in eitel2021.analyse(made.results).doubts[-1]


def test_filters_are_shown_of_arms_that_have_the_layer(tmp_path, rng):
    made, _ = build(tmp_path, rng, splits=2)
    names = [p.name for p in eitel2021.analyse(made.results).pictures]
    assert names == ["roc_area", "roc", "steps", "pif_pif_filter-000", "pif_pif_filter-001"]
    for picture in eitel2021.analyse(made.results).pictures:
        assert picture.draw()["png"][:4] == b"\x89PNG"


def test_the_change_of_the_median():
    assert change(np.array([100.0, 200.0, 300.0]), np.array([150.0])) == pytest.approx(-25)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {}}, "compare is None"),
        ({"options": {"compare": ["baseline"]}}, "expected pairs of arms"),
        ({"options": {"compare": [["baseline", "piff"]]}}, "'piff'"),
        ({"options": {"pairs": []}}, "'pairs'"),
    ],
)
def test_what_is_lacking_is_told(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        check(study_of(tmp_path, **changes))


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["boehle2019", "eitelritter2019", "klingenberg2021", "eitel2021"])
def test_the_declarations_can_be_run(name, quick):
    check(read_study(name, quick))
