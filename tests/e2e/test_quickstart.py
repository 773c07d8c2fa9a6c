"""The quickstart, small: every step of it, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from helpers.command import run

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.integration
def test_quickstart_leads_from_nothing_to_a_report_and_a_rerun_redoes_nothing(tmp_path, terminal):
    if not (Path(sys.prefix) / ".neuroxai").is_file():
        pytest.skip("this environment was not made by scripts/env.sh, which the quickstart would now do")
    # this environment, whose programs are spared the imports
    shutil.copy(Path(sys.prefix) / ".neuroxai", terminal.programs.parent)
    environment = {**os.environ, "NEUROXAI_VENV": str(terminal.programs.parent), "OMP_NUM_THREADS": "1"}
    command = ["bash", str(REPOSITORY / "scripts" / "quickstart.sh"), "--subjects", "12", "--spacing", "5"]
    command += ["--out", str(tmp_path / "out")]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert first.returncode == 0, first.stderr[-3000:]
    report = Path(first.stdout.strip().splitlines()[-1].removeprefix("report: "))
    assert report.is_file()
    assert "<html" in report.read_text()

    # the figures printed come from the file beside the page
    metrics = json.loads((report.parent / "metrics.json").read_text())
    assert "known_truth" in metrics
    predictions = pd.read_csv(tmp_path / "out" / "explained" / "predictions.tsv", sep="\t")
    datalist = json.loads((tmp_path / "out" / "cohort" / "datalist.json").read_text())
    assert sorted(predictions["participant_id"]) == sorted(item["participant_id"] for item in datalist["test"])
    # no subject that was explained has been trained on
    record = json.loads((tmp_path / "out" / "bundle" / "models" / "model.json").read_text())
    assert not set(predictions["participant_id"]) & set(record["training_participants"])

    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.nii.gz")}
    assert files
    weights = (tmp_path / "out" / "bundle" / "models" / "model.pt").read_bytes()
    page = report.read_bytes()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert second.returncode == 0, second.stderr[-3000:]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.nii.gz")} == files
    assert (tmp_path / "out" / "bundle" / "models" / "model.pt").read_bytes() == weights
    assert report.read_bytes() == page


def test_unknown_options_are_refused():
    result = run("quickstart", "--subject", "3")
    assert result.code == 2
    assert "--subjects" in result.err
    result = run("quickstart", "--help")
    assert result.code == 0
    assert "--spacing" in result.out


def test_a_grid_too_coarse_for_the_network_is_refused_before_anything_is_made(tmp_path):
    result = run("quickstart", "--out", tmp_path / "out", "--spacing", 6)
    assert result.code == 2
    assert "less than or equal to 5" in result.err
    assert not (tmp_path / "out").exists()
