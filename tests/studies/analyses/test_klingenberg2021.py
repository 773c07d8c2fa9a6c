"""Study 4: arms compared in pairs of the same split and repetition."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.runs import Runs
from helpers.studies import declared
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study
from neuroxai.studies.analyses import klingenberg2021
from neuroxai.studies.analyses.shared import GRID, at_grid, compare, mean_roc, pairs

COHORTS = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}
TRUE = [0, 0, 0, 0, 1, 1, 1, 1]


def study_of(tmp_path, **changes):
    arms = {"none": {}, "linear": {}}
    return read_study(
        declared(tmp_path / "mine.yaml", analysis="klingenberg2021", cohorts=COHORTS, **{"arms": arms, **changes})
    )


def right(count):
    """Probabilities of which so many patients' are on the right side, and all controls'."""
    return [0.1] * 4 + [0.9] * count + [0.2] * (4 - count)


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    for split in range(6):
        for repetition in range(2):
            made.add("none", split, repetition, true=TRUE, probability=right(split % 3))
            made.add("linear", split, repetition, true=TRUE, probability=right(split % 3 + 1 + repetition % 2))
    return made


def test_means_and_standard_errors_are_those_of_the_runs(runs):
    found = klingenberg2021.analyse(runs.results)
    row = next(r for r in found.figures if (r.quantity, r.group) == ("balanced accuracy", "none"))
    values = np.array([50 + 50 * (s % 3) / 4 for s in range(6) for _ in range(2)])
    assert row.value == pytest.approx(values.mean())
    assert row.note == f"standard error {values.std(ddof=1) / np.sqrt(12):.4g}"
    assert row.low < row.value < row.high
    assert row.n == 12


def test_the_better_arm_is_found_and_told(runs):
    from scipy.stats import wilcoxon

    found = klingenberg2021.analyse(runs.results)
    row = next(r for r in found.figures if r.quantity == "difference of balanced accuracy over split means")
    # one or two patients more of four: 12.5 or 25 points, 18.75 in each split
    assert (row.group, row.value, row.n) == ("linear - none", pytest.approx(18.75), 6)
    assert row.p == pytest.approx(wilcoxon(np.full(6, 0.1875)).pvalue)
    assert row.effect == 1
    assert "linear is 18.8 points above that of none" in found.answers[0]
    assert {p.name for p in found.pictures} == {"balanced_accuracy", "roc", "runs"}
    for picture in found.pictures:
        drawn = picture.draw()
        assert drawn["png"][:4] == b"\x89PNG"
        assert drawn["svg"].lstrip().startswith(b"<?xml")
        assert drawn == picture.draw()


def test_a_draw_is_called_a_draw(tmp_path):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    for split in range(6):
        made.add("none", split, true=TRUE, probability=right(1 + split % 2))
        made.add("linear", split, true=TRUE, probability=right(2 - split % 2))
    found = klingenberg2021.analyse(made.results)
    assert "the runs do not tell which is better" in found.answers[0]


def test_runs_without_a_partner_are_left_out(tmp_path):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    made.add("none", 0, true=TRUE, probability=right(1))
    made.add("none", 1, true=TRUE, probability=right(1))
    made.add("linear", 1, true=TRUE, probability=right(3))
    both = pairs(made.results.runs, "none", "linear", "balanced_accuracy")
    assert both["split"].tolist() == [1]
    (row,) = compare(made.results, "none", "linear", "balanced_accuracy")
    assert (row.n, row.low, row.p) == (1, None, 1.0)
    assert "cannot give a p below" in row.note
    assert compare(made.results, "linear", "absent", "balanced_accuracy") == []


def test_curves_are_averaged_vertically(tmp_path):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    made.add("none", 0, true=TRUE, probability=[0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    made.add("none", 1, true=TRUE, probability=[0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.3, 0.4])
    false, mean, error = mean_roc(made.results)["none"]
    # one run is always right, one always wrong
    assert np.allclose(mean[:-1], 0.5)
    assert mean[-1] == 1
    assert error[0] == pytest.approx(0.5)
    assert (false == GRID).all()
    assert at_grid(np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.0, 0.5, 0.75, 1.0]))[[0, 25, 100]].tolist() == [
        0.5,
        0.625,
        1,
    ]


def test_one_arm_has_nothing_to_be_compared_with(tmp_path):
    with pytest.raises(InputError, match="expected two or more"):
        check(study_of(tmp_path, arms={"none": {}}))
