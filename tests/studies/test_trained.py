"""A run's trained network: scans held against the controls of its own training part."""

from __future__ import annotations

import json

import pytest
import torch

from neuroxai import io
from neuroxai.derivatives.study_runs import RunRecord
from neuroxai.errors import InputError
from neuroxai.studies.trained import TrainedRun, explain_run

AGAINST = {
    "swap": {"method": "region_swap"},
    "mean": {"method": "deep_lift", "options": {"baselines": "mean_control"}},
}


def record(cohort, folder, change=lambda datalist: {}):
    datalist = json.loads((cohort / "datalist.json").read_text())
    datalist["test"] = datalist["test"][-2:]
    (folder / "datalist.json").write_text(json.dumps(datalist | change(datalist)))
    given = {"cohort": str(cohort), "datalist": str(folder / "datalist.json"), "parts": ["test"]}
    return RunRecord(**given, explain=AGAINST, atlases=["builtin"])


def test_scans_are_held_against_the_controls_of_the_training_part(trained_bundle, tiny_cohort, tmp_path):
    run = record(tiny_cohort, tmp_path)
    opened = TrainedRun(trained_bundle, run)
    own = torch.cat([scan for item, scan in opened.scans("training") if item["label"] == 0])
    assert opened.controls.controls == len(own) == 6
    torch.testing.assert_close(opened.controls.mean, own.mean(0))
    theirs = torch.cat([scan for item, scan in opened.scans("training") if item["label"] == 1])
    torch.testing.assert_close(opened.controls.change, theirs.mean(0) - own.mean(0))
    explain_run(tmp_path, trained_bundle, run)
    swap, mean = (io.read_tsv(tmp_path / "explained" / "test" / name / "scans.tsv") for name in AGAINST)
    (item, scan), *_ = opened.scans("test")
    with torch.no_grad():
        ends = [opened.network(x[None])[0, 1] for x in (scan[0], opened.controls.mean)]
    assert mean["participant_id"][0] == item["participant_id"]
    assert mean["sum"][0] == pytest.approx(float(ends[0] - ends[1]), rel=1e-3)
    assert swap["sum"].abs().min() > 0


def test_too_few_controls_are_refused(trained_bundle, tiny_cohort, tmp_path):
    def few(datalist):
        controls = [item for item in datalist["training"] if item["label"] == 0]
        return {"training": [item for item in datalist["training"] if item["label"] == 1] + controls[:2]}

    run = record(tiny_cohort, tmp_path, few)
    with pytest.raises(InputError, match=r"2 scans of class 'CN' can be read .* baselines to 'zero'"):
        explain_run(tmp_path, trained_bundle, run)
