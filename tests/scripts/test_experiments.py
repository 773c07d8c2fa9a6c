"""Experiments run on a cohort of known truth and write what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import against_controls
from neuroxai.io import write_tsv

EXPERIMENTS = Path(__file__).resolve().parents[2] / "scripts" / "experiments"


@pytest.mark.full(0)
def test_relevance_beside_others_is_conserved(capsys):
    import runpy

    runpy.run_path(str(EXPERIMENTS / "beside_others.py"), run_name="__main__")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["network", "neuroxai", "captum"]
    table = {row[0]: row for row in rows[2:]}
    # biases, which batch normalisation has, take the rest
    assert float(table["DenseNet121"][1]) == pytest.approx(1, abs=0.1)
    assert float(table["ResNet18"][1]) == pytest.approx(1, abs=0.1)
    assert "Conv3d" in table["DenseNet121"][2]


def test_rows_measured_on_fewer_pairs_say_so(tmp_path):
    rng = np.random.default_rng(0)
    places = [*(f"region {k}" for k in range(20)), against_controls.SECONDS, against_controls.AUC]
    folds = []
    for fold in range(2):
        items = []
        for pair in range(3):
            for twin, label in (("A", 0), ("B", 1)):
                who = f"sub-{fold}{pair}{twin}"
                items.append({"image": f"{who}.nii.gz", "label": label, "participant_id": who, "twin": who[:-1]})
                (tmp_path / f"{who}.nii.gz").touch()
                used = rng.normal(size=22)
                columns = {"region": places, against_controls.EFFECTS: used, "lrp_epsilon": used, "noise": -used}
                if pair == 0:  # of the pairs that come first, one lacks a row
                    del columns["noise"]
                write_tsv(tmp_path / "out" / f"fold-{fold}" / f"{who}.tsv", pd.DataFrame(columns))
        folds.append(tmp_path / f"datalist_fold-{fold}.json")
        folds[-1].write_text(json.dumps({"classes": ["sham", "atrophy"], "test": items}))
    tables = against_controls.gathered(tmp_path / "out", tmp_path, folds)
    patients = tables["patients"]
    assert dict(patients["pairs"]) == {"lrp_epsilon": 6, "noise": 4}
    assert patients.loc["lrp_epsilon", ["rho", "overlap"]].tolist() == [1, 1]
    assert patients.loc["noise", "rho"] == pytest.approx(-1)
    assert patients.loc["noise", "overlap"] == 0  # the ten highest of twenty are the others
    lines = against_controls.markdown(tables).splitlines()
    assert [line.rsplit("|", 2)[1].strip() for line in lines[2:]] == ["6", "4"]
    assert lines[2].startswith("| lrp_epsilon | 1.00 | 1.00 | 1.00 |")
