"""Eitel 2019: what is known beforehand comes out, in both directions, and what lacks something is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.runs_eitel2019 import DECLARED, OTHER, declared, make_results
from helpers.studies import sooner
from helpers.warm import Shell
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study
from neuroxai.studies.analyses import eitel2019
from neuroxai.studies.analyses.eitel2019.relevance import region_values, subjects
from neuroxai.studies.findings import Finding, Findings

SIX = [0.7, 0.72, 0.74, 0.76, 0.78, 0.8]
BETTER = [0.78, 0.81, 0.84, 0.86, 0.89, 0.92]


def one(found: Findings, quantity: str, group: str) -> Finding:
    (row,) = [f for f in found.figures if (f.quantity, f.group) == (quantity, group)]
    return row


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Pre-training helps by ten points over six runs, lesions hold eight times their room; filling undoes both."""
    metrics = {"scratch": SIX, "transfer": BETTER, "filled": [v - 0.1 for v in SIX], "untrained": [0.5] * 6}
    excess = {"scratch": 2.0, "transfer": 8.0, "filled": 0.5, "untrained": 1.0}
    return eitel2019.analyse(make_results(tmp_path_factory.mktemp("runs"), metrics, excess))


def test_transfer_is_compared_by_pairs(found):
    row = one(found, "balanced accuracy", "transfer - scratch")
    assert row.value == pytest.approx(10)
    # six of six alike: 2 / 2**6
    assert (row.n, row.effect) == (6, 1.0)
    assert row.p == pytest.approx(2 / 64)
    assert one(found, "balanced accuracy", "filled - transfer").value == pytest.approx(-20)


def test_lesion_relevance_is_set_against_coverage(found):
    # test patients stand at odd places of ten: coverages .002, .004 ... .010
    coverage = np.mean([0.2, 0.4, 0.6, 0.8, 1.0])
    assert one(found, "lesion coverage in patients", "transfer").value == pytest.approx(coverage)
    assert one(found, "lesion relevance in patients", "transfer").value == pytest.approx(8 * coverage)
    # controls have none
    assert one(found, "lesion relevance in all scans", "transfer").value == pytest.approx(4 * coverage)
    more, less = (one(found, "lesion relevance - coverage", arm) for arm in ("transfer", "filled"))
    assert (more.value, more.effect, more.n) == (pytest.approx(7 * coverage), 1.0, 5)
    assert (less.value, less.effect) == (pytest.approx(-0.5 * coverage), -1.0)
    # five patients: 2 / 2**5 is above .05, and that is said
    assert more.p == pytest.approx(0.0625)
    assert "5 patients cannot give a p below 0.062" in more.note
    assert "8 times the coverage" in more.note


def test_the_sum_goes_with_the_lesions_whatever_the_scale_of_a_run(found):
    alone = one(found, "correlation of lesion voxels and relevance sum", "transfer, test, patients alone")
    assert alone.value == pytest.approx(1.0)
    assert alone.n == 5
    whole = one(found, "correlation of lesion voxels and relevance sum", "transfer, test")
    assert 0.5 < whole.value < 1
    assert whole.p < 0.05


def test_table_3_has_the_baselines_and_all_arms(found):
    table = found.tables["table_3"].set_index("model")
    assert list(table.index) == ["SVM, lesion load", "SVM, FLAIR", "scratch", "transfer", "filled", "untrained"]
    # lesion load is 0 in controls alone
    assert table.loc["SVM, lesion load", "balanced_accuracy"] == 100
    assert table.loc["SVM, lesion load", "balanced_accuracy_low"] < 100
    assert table.loc["transfer", "balanced_accuracy"] == pytest.approx(85)
    assert table.loc["transfer", "balanced_accuracy_low"] < 85 < table.loc["transfer", "balanced_accuracy_high"]


def test_regions_are_merged_and_scaled_by_the_run(found):
    table = found.tables["regions_builtin"].set_index(["arm", "region"])
    # an average voxel of transfer: thalamus (40 voxels) 5 or 1, brain stem (20) 2
    unit = (0.5 * 40 * 5 + 0.5 * 40 * 1 + 20 * 2) / 60
    assert table.loc[("transfer", "thalamus"), "mean_MS"] == pytest.approx(5 / unit)
    assert table.loc[("transfer", "thalamus"), "mean_HC"] == pytest.approx(1 / unit)
    assert table.loc[("transfer", OTHER), "difference"] == pytest.approx(0)
    assert table.loc[("transfer", "thalamus"), "p_family"] < 0.05
    assert ("transfer", "Void") not in table.index
    assert table.loc[("transfer", "thalamus"), "leads"] == 1
    assert table.loc[("filled", OTHER), "leads"] == 1
    assert one(found, "overlap of the 1 leading regions", "transfer and filled, builtin").value == 0


def test_answers_follow_the_numbers(found, tmp_path):
    text = " ".join(found.answers)
    assert "pre-trained networks do better" in text
    assert "networks do worse without lesions" in text
    # the other way round
    metrics = {"scratch": BETTER, "transfer": SIX}
    other = eitel2019.analyse(make_results(tmp_path, metrics, {"transfer": 0.2, "scratch": 0.2}))
    assert "pre-trained networks do worse" in " ".join(other.answers)
    assert "Lesions filled" not in " ".join(other.answers)
    # five patients cannot decide
    assert "undecided" in " ".join(a for a in other.answers if a.startswith("transfer:"))


def test_one_run_and_no_explained_run_conclude_nothing(tmp_path):
    found = eitel2019.analyse(make_results(tmp_path, {"scratch": [0.6], "transfer": [0.9]}, {}))
    row = one(found, "balanced accuracy", "transfer - scratch")
    assert (row.low, row.high) == (None, None)
    assert "1 repetitions of one split cannot give a p below 1" in row.note
    assert "no conclusion" in found.answers[0]
    assert [p.name for p in found.pictures] == ["models"]


def test_splits_are_the_pairs_where_there_are_several(tmp_path):
    metrics = {"scratch": [0.5, 0.6, 0.5, 0.6], "transfer": [0.6, 0.9, 0.6, 0.9]}
    found = eitel2019.analyse(make_results(tmp_path, metrics, {}, splits=2))
    row = one(found, "balanced accuracy", "transfer - scratch")
    assert row.value == pytest.approx(20)
    assert "over 2 splits" in row.method


def test_pictures_draw_the_same_bytes_twice(found):
    names = [p.name for p in found.pictures]
    assert names == ["models", "lesion_relevance", "lesion_sum", "regions_builtin", "filled_builtin", "maps"]
    for picture in found.pictures:
        first, second = picture.draw(), picture.draw()
        assert first == second
        assert first["png"].startswith(b"\x89PNG")


def test_nothing_positive_and_no_lesion_are_no_numbers(tmp_path):
    results = make_results(tmp_path, {"scratch": [0.6], "transfer": [0.9]}, {"transfer": 3.0})
    done = results.chosen("transfer")[0]
    table = results.scans(done, "lrp")
    table.loc[table["true"] == "MS", "relevance_in_truth"] = np.nan
    place = done.folder / "explained" / "test" / "lrp" / "scans.tsv"
    table.to_csv(place, sep="\t", index=False, na_rep="n/a")
    seen = subjects(results, "transfer", "lrp")
    assert seen[seen["true"] == "MS"]["relevance"].isna().all()
    assert (seen[seen["true"] == "HC"]["relevance"] == 0).all()
    found = eitel2019.analyse(results)
    assert not [f for f in found.figures if f.quantity == "lesion relevance - coverage"]
    # all subjects of one kind
    table["truth_voxels"] = np.nan
    table.to_csv(place, sep="\t", index=False, na_rep="n/a")
    (row,) = [f for f in eitel2019.analyse(results).figures if f.group == "transfer, test"]
    assert row.value is None
    assert "nothing can correlate" in row.note


def test_region_values_equal_the_plain_formula(tmp_path):
    results = make_results(tmp_path, {"scratch": [0.6, 0.7], "transfer": [0.9, 0.9]}, {"transfer": 3.0})
    values = region_values(results, "transfer", "lrp", "builtin")
    slow: dict[tuple[str, str], list[float]] = {}
    for done in results.chosen("transfer"):
        table = results.regions(done, "lrp")
        unit = np.abs(table["sum"]).sum() / table["voxels"].sum()
        for who in table["participant_id"].unique():
            own = table[(table["participant_id"] == who) & table["name"].str.contains("thalamus")]
            slow.setdefault((who, "thalamus"), []).append(own["sum"].sum() / own["voxels"].sum() / unit)
    for (who, region), expected in slow.items():
        row = values[(values["participant_id"] == who) & (values["region"] == region)]
        assert math.isclose(float(row["mean"].iloc[0]), float(np.mean(expected)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"scratch": "nobody"}}, "arm for options: scratch 'nobody'"),
        ({"options": {"filled": "nobody"}}, "arm for options: filled 'nobody'"),
        ({"options": {"toop": 1}}, "toop"),
        ({"options": {"top": 0}}, "options: top is 0"),
        ({"options": {"svm_components": [0]}}, "svm_components has 0"),
        ({"explain": {}}, "explain: there is none"),
        ({"parts": ["training"]}, "expected test among them"),
        ({"arms": {"scratch": {}, "transfer": {}}, "options": {}}, "transfer .transfer.: has no pretrained"),
        ({"arms": {**DECLARED["arms"], "filled": {}}}, "has no fill_lesions"),
    ],
)
def test_what_lacks_something_is_refused_before_any_training(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        eitel2019.check(declared(**changes))


@pytest.mark.parametrize("quick", [True, False])
def test_the_declaration_is_sound(quick: bool):
    study = read_study("eitel2019", quick)
    eitel2019.check(study)
    if quick:
        check(study)  # the full one asks for atlases that are not everywhere
    known = {(row["quantity"], row["group"]) for row in study.published}
    assert len(known) == len(study.published)
    assert study.repetitions == (2 if quick else 10)


@pytest.mark.full(1)
def test_from_declaration_to_page(tmp_path: Path, terminal: Shell):
    from neuroxai.studies import RunOptions, run_study
    from neuroxai.studies.reading import load, merged, study_of, text_of

    values = load(text_of("eitel2019"), "eitel2019")
    values = merged(values, values.pop("quick"))
    tiny = {
        "name": "eitel2019",
        "cohorts": {"main": {"simulate": {"subjects": 20}}, "pretraining": {"simulate": {"subjects": 12}}},
        "arms": {"adni": {"settings": {"max_epochs": 1, "min_epochs": 1}}, "adni_only": None, "untrained": None},
        "settings": {"max_epochs": 1, "min_epochs": 1},
        "repetitions": 1,
        "explain": {"gradient_x_input": None},
        "options": {"svm_components": [None]},
        "statistics": {"permutations": 99, "replicates": 100},
    }
    study = study_of(merged(values, tiny), "tiny")
    # subjects of the two cohorts bear the same names, and are not the same people
    with sooner(terminal):
        summary = run_study(study, tmp_path / "out", options=RunOptions(jobs=1))
    assert summary.failed == []
    assert summary.scans_failed == []
    first = (tmp_path / "out" / "statistics.tsv").read_bytes()
    again = run_study(study, tmp_path / "out", options=RunOptions(jobs=1))
    assert (again.made, again.kept) == (0, summary.runs)
    assert (tmp_path / "out" / "statistics.tsv").read_bytes() == first
    table = pd.read_csv(tmp_path / "out" / "statistics.tsv", sep="\t")
    assert {"lesion relevance in patients", "balanced accuracy"} <= set(table["quantity"])
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
