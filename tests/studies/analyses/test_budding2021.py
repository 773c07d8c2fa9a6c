"""Budding 2021: what finds lesions leads, what does not is at chance, what is not finite is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.studies import FinishedRun, Results, Study, check, read_study
from neuroxai.studies.analyses import budding2021
from neuroxai.studies.findings import Finding, Findings
from neuroxai.studies.reading import study_of
from neuroxai.studies.runs import Run

DECLARED: dict[str, Any] = {
    "name": "budding2021",
    "title": "T",
    "analysis": "budding2021",
    "bundle": "brain_flair_ms_classification",
    "cohorts": {"main": {"classes": ["HC", "MS"]}},
    "arms": {"trained": {}, "untrained": {"train": False}},
    "explain": {"good": {"method": "lrp_epsilon"}, "blind": {"method": "saliency"}, "bright": {"method": "grad_cam"}},
    "statistics": {"permutations": 99, "replicates": 200},
}
AREAS = {("good", "trained"): 0.9, ("good", "untrained"): 0.5, ("bright", "trained"): 0.8, ("bright", "untrained"): 0.8,
         ("blind", "trained"): 0.5, ("blind", "untrained"): 0.5}  # fmt: skip


def declared(**changes: Any) -> Study:
    return study_of({**DECLARED, **changes}, "test")


def make_results(folder: Path, subjects: int = 12, runs: int = 2) -> Results:
    """Write runs whose methods have known areas, with a little of each subject's own."""
    study, done = declared(), []
    for arm in study.arms:
        for number in range(runs):
            place = folder / f"{arm}-{number}"
            figures = dict.fromkeys(("balanced_accuracy", "sensitivity", "specificity", "accuracy", "roc_auc"), 0.9)
            io.write_json(place / "result.json", {"epochs": 1, "steps": 1, "best_epoch": 1, "validation_score": 0.5,
                                                  "test": {**figures, "scans": subjects}, "failed": []})  # fmt: skip
            for place_of, method in enumerate(study.explain):
                own = np.random.default_rng(place_of).uniform(-0.05, 0.05, subjects)
                table = pd.DataFrame({"participant_id": [f"sub-{n:02d}" for n in range(subjects)], "session_id": None})
                sick = np.arange(subjects) >= 4
                table["truth_voxels"] = np.where(sick, 9.0, np.nan)
                table["coverage"] = np.where(sick, 0.01, np.nan)
                table["roc_auc"] = np.where(sick, AREAS[method, arm] + own, np.nan)
                table["relevance_mass"] = np.where(sick, 0.01 if method == "blind" else 0.2, np.nan)
                table["density_ratio"] = np.where(sick, np.inf if method == "good" else 2.0, np.nan)
                io.write_tsv(place / "explained" / "test" / method / "scans.tsv", table)
            run = Run(arm, 0, number, None, {}, folder, folder, folder / "d.json", {}, "", True, f"{arm}-{number}")
            done.append(FinishedRun(run, place))
    return Results(study, folder, done, {})


def one(found: Findings, quantity: str, group: str) -> Finding:
    (row,) = [f for f in found.figures if (f.quantity, f.group) == (quantity, group)]
    return row


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return budding2021.analyse(make_results(tmp_path_factory.mktemp("runs")))


def test_what_finds_lesions_leads(found):
    good, blind = (one(found, "ROC area of lesion voxels", f"{m}, trained") for m in ("good", "blind"))
    assert good.n == blind.n == 8
    assert good.low > 0.5
    assert good.p == pytest.approx(2 / 2**8)
    assert blind.low < 0.5 < blind.high
    assert one(found, "mean rank by ROC area", "good").value < one(found, "mean rank by ROC area", "blind").value
    assert found.answers[0].startswith("By ROC area good is best")
    assert "blind, trained" not in found.answers[1]


def test_what_needs_no_training_is_told(found):
    assert one(found, "ROC area, trained - untrained", "good").value == pytest.approx(0.4)
    bright = one(found, "ROC area, trained - untrained", "bright")
    assert (bright.value, bright.p) == (pytest.approx(0), 1)
    assert "good (+0.400), of 3 methods" not in found.answers[2]  # all differ by the same: no interval, no verdict


def test_what_is_not_finite_is_no_number(found):
    row = one(found, "density ratio", "good, trained")
    assert row.value is None
    assert "not finite" in row.note
    # chance of the mass is the lesions' room
    assert "chance, 1" in one(found, "positive relevance in lesions", "blind, trained").method
    assert one(found, "positive relevance in lesions", "blind, trained").value == pytest.approx(1.0)


def test_ranks_equal_the_plain_count():
    table = pd.DataFrame({"a": [3.0, 5.0, 2.0], "b": [1.0, 6.0, 1.0], "c": [2.0, 4.0, np.nan]})
    mean, p = budding2021.ranks(table)
    slow = np.mean([rankdata(-row) for row in table.dropna().to_numpy()], axis=0)
    assert mean.to_numpy() == pytest.approx(slow)
    assert p is not None
    assert budding2021.ranks(table[["a", "b"]])[1] is None


def test_no_lesion_in_the_test_part_concludes_nothing(tmp_path):
    results = make_results(tmp_path, subjects=4)
    found = budding2021.analyse(results)
    assert found.answers == []
    assert "no scan of the test part has lesions" in found.doubts[0]


def test_pictures_draw_the_same_bytes_twice(found):
    assert [p.name for p in found.pictures] == ["areas", "mass", "agreement"]
    for picture in found.pictures:
        assert picture.draw() == picture.draw()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"trained": "nobody"}}, "arm for options: trained 'nobody'"),
        ({"options": {"other": "trained"}}, "other"),
        ({"explain": {"good": {"method": "saliency"}}}, "has 1 methods, expected two"),
        ({"arms": {"trained": {"explain": False}}}, "explain is false"),
        ({"parts": ["training"]}, "expected test among them"),
    ],
)
def test_what_lacks_something_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        budding2021.check(declared(**changes))


@pytest.mark.parametrize("quick", [True, False])
def test_the_declaration_is_sound(quick: bool):
    check(read_study("budding2021", quick))
