"""A study that cannot be run is refused before anything is made, by the name of the key."""

from __future__ import annotations

import pytest

from helpers.studies import cohort_of, declared
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study, run_study
from neuroxai.studies.check import order
from neuroxai.studies.reading import DeclarationError

SIMULATED = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"analysis": "metric"}, ["unknown analysis 'metric'", "metrics"]),
        ({"bundle": "brain"}, ["unknown bundle 'brain'", "brain_t1w_alzheimers_classification"]),
        ({"arms": {}}, ["arms is {}", "at least one"]),
        ({"arms": {"a": {"cohort": "other"}}}, ["cohort in arms: a", "'other'", "main"]),
        ({"settings": {"learning_rates": 1}}, ["key in settings 'learning_rates'", "Did you mean 'learning_rate'?"]),
        ({"arms": {"a": {"settings": {"x": 1}}}}, ["key in arms: a: settings 'x'"]),
        ({"settings": {"seed": 1}}, ["seed is the study's own"]),
        ({"settings": {"dataset_dir": "/"}}, ["dataset_dir is the study's own"]),
        ({"settings": {"normalisation": "$__import__('os').system('true')"}}, ["no expression"]),
        ({"settings": {"normalisation": " @seed"}}, ["no expression"]),
        ({"settings": {"shift_axis": ["%x"]}}, ["no expression"]),
        ({"settings": {"train": {}}}, ["key in settings 'train'"]),
        ({"explain": {"a": {"method": "lrp"}}}, ["method in explain: a", "'lrp'", "lrp_epsilon"]),
        ({"explain": {"a": {"method": "lrp_epsilon", "options": {"eps": 1}}}}, ["explain: a", "eps"]),
        (
            {"explain": {"a": {"method": "saliency", "start": "softmax"}}},
            ["explain: a: start is 'softmax'", "probability"],
        ),
        ({"explain": {"a": {"method": "saliency", "target": "MS"}}}, ["target in explain: a", "AD", "CN"]),
        ({"explain": {"a": {"method": "saliency", "layer": "x"}}}, ["cannot start at layer"]),
        ({"explain": {"a": {"method": "region_shapley", "options": {"n_samples": 1}}}}, ["explain: a: n_samples is 1"]),
        (
            {"explain": {"a": {"method": "occlusion", "options": {"baselines": "fitted_control", "patch": 0}}}},
            ["explain: a: patch is 0"],
        ),
        ({"explain": {"a": {"method": "lrp_zero", "neurons": "all"}}}, ["neurons need the layer"]),
        ({"atlases": ["absent.nii.gz"]}, ["atlases: absent.nii.gz", "no such file"]),
        ({"atlases": ["aal"]}, ["aal"]),
        ({"atlases": []}, ["atlases: there is none"]),
        ({"parts": ["tests"]}, ["parts[0] is 'tests'", "training"]),
        ({"repetitions": 0}, ["repetitions is 0"]),
        ({"split": {"repeats": 0}}, ["split: repeats is 0"]),
        ({"split": {"fractions": [0.8, 0.2]}}, ["fractions is [0.8, 0.2]", "three shares"]),
        ({"split": {"fractions": [0.8, 0.2, 0.0]}}, ["fractions[2] is 0.0", "more than 0"]),
        ({"arms": {"a": {"share": 0.0}}}, ["share is 0.0"]),
        ({"arms": {"a": {"fill_lesions": "mean"}}}, ["fill_lesions in arms: a", "valverde"]),
        ({"arms": {"a": {"prepare": {"arm": "affine"}}}}, ["'affine'", "linear"]),
        ({"arms": {"a": {"prepare": {"arms": "linear"}}}}, ["arms: a: prepare", "arms"]),
        ({"arms": {"a": {"pretrained": "b"}}}, ["arms: a: pretrained", "cannot begin from weights"]),
        ({"search": {"draws": 2}}, ["space is empty"]),
        ({"search": {"draws": 2, "space": {"dropout": 0.1}}}, ["dropout is 0.1"]),
        ({"search": {"draws": 2, "space": {"drop": [0.1]}}}, ["'drop'"]),
        ({"search": {"draws": 1, "sampler": "grid", "space": {"dropout": [0.1]}}}, ["sampler is 'grid'", "tpe"]),
        (
            {"cohorts": {"main": {"simulate": {"effect": "tumour"}}}},
            ["cohorts: main: simulate: effect is 'tumour'", "atrophy"],
        ),
        (
            {"cohorts": {"main": {"simulate": {"efect": "atrophy"}}}},
            ["key in cohorts: main: simulate", "'efect'", "Did you mean 'effect'"],
        ),
        ({"cohorts": {"main": {}}}, ["neither simulate nor path", "--cohort main=DIR"]),
        ({"cohorts": {"main": {**SIMULATED["main"], "classes": ["AD"]}}}, ["classes is ['AD']"]),
        ({"cohorts": {"main": {"path": "/absent"}}}, ["/absent: no such folder"]),
        ({"statistics": {"level": 95.0}}, ["statistics: level is 95", "0.95"]),
        ({"statistics": {"permutations": 0}}, ["statistics: permutations is 0"]),
        ({"statistics": {"top": -3}}, ["statistics: top is -3"]),
        ({"search": {"seed": -1}}, ["search: seed is -1"]),
        ({"settings": {"max_shift": 1000}}, ["settings: --max_shift is 1000"]),
        ({"settings": {"dropout": 1.5}}, ["settings: --dropout is 1.5"]),
        ({"arms": {"a": {"settings": {"batch_size": "4"}}}}, ["arms: a: settings", "batch_size is '4'"]),
        ({"search": {"draws": 1, "space": {"dropout": [0.1, 7]}}}, ["search: dropout", "--dropout is 7"]),
        ({"search": {"draws": 1, "space": {"learning_rate": {"low": -1.0, "high": 0.1}}}}, ["--learning_rate is -1"]),
        (
            {"cohorts": {"main": {"simulate": {"effect": "atrophy", "subjects": 12.5, "spacing": 5}}}},
            ["subjects is 12.5"],
        ),
    ],
)
def test_what_cannot_be_run_is_refused_and_nothing_is_written(tmp_path, changes, words):
    path = declared(tmp_path / "mine.yaml", **{"cohorts": SIMULATED, **changes})
    with pytest.raises(InputError) as caught:
        run_study(read_study(path), tmp_path / "out")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_cohort_without_a_class_is_refused(tmp_path, tiny_cohort):
    folder = cohort_of(tiny_cohort, tmp_path / "cohort")
    table = folder / "participants.tsv"
    table.write_text(table.read_text().replace("AD", "MCI"))
    study = read_study(declared(tmp_path / "mine.yaml"))
    with pytest.raises(InputError, match=r"AD.*CN, MCI"):
        check(study, {"main": folder})
    with pytest.raises(InputError, match="cohort for --cohort 'adni'"):
        check(study, {"adni": folder, "main": cohort_of(tiny_cohort, tmp_path / "whole")})


def test_all_faults_are_reported_at_once_and_what_arms_share_counts_once(tmp_path):
    arms = {"a": {"cohort": "other", "fill_lesions": "mean"}, "b": {"prepare": {"arms": "linear"}}}
    path = declared(
        tmp_path / "mine.yaml",
        arms=arms,
        analysis="metric",
        settings={"learning_rates": 1},
        explain={"x": {"method": "lrp"}},
        cohorts={"main": {"path": "/absent"}},
    )
    with pytest.raises(DeclarationError) as caught:
        check(read_study(path))
    found = caught.value.faults
    assert len(found) == 7
    for got in ("'metric'", "/absent", "'other'", "'mean'", "'arms'", "'learning_rates'", "'lrp'"):
        assert sum(got in sentence for sentence in found) == 1


def test_arms_are_put_in_the_order_of_their_weights(tmp_path):
    arms = {"c": {"pretrained": "b"}, "b": {"pretrained": "a"}, "a": {}, "d": {}}
    study = read_study(declared(tmp_path / "mine.yaml", bundle="brain_flair_ms_classification", arms=arms))
    assert order(study) == [["a", "d"], ["b"], ["c"]]
    arms["a"] = {"pretrained": "c"}
    study = read_study(declared(tmp_path / "mine.yaml", bundle="brain_flair_ms_classification", arms=arms))
    with pytest.raises(InputError, match="wait for each other"):
        order(study)
