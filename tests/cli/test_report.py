from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neuroxai.cli.main import app


@pytest.fixture
def explained(tmp_path):
    """The explain folder that the tests of the report room write."""
    path = Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("report_fixtures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda **options: module.write_explain_folder(tmp_path, **options)


def test_prints_the_figures_it_wrote(explained):
    out = explained(masks=True)
    result = CliRunner().invoke(app, ["report", str(out)])
    assert result.exit_code == 0, result.output
    found = json.loads((out / "report" / "metrics.json").read_text())
    ratio = found["known_truth"]["density_ratio"]
    for text in (
        f"mean heatmap of patients: {ratio['patients']['value']:.2f}",
        f"mean heatmap of controls: {ratio['controls']['value']:.2f}",
        f"balanced accuracy: {found['classification']['balanced_accuracy']['value']:.3f}",
        "planted hippocampus_loss_percent: mean 21, 20 to 22 (n = 3)",
        f"report: {out / 'report' / 'index.html'}",
    ):
        assert text in result.stdout.replace("\n", " "), text


def test_json_goes_to_standard_output_alone(explained, tmp_path):
    out = explained(people=[("sub-0001", "", "AD", "AD", 0.9)])
    result = CliRunner().invoke(app, ["report", str(out), "--out", str(tmp_path / "pages"), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((tmp_path / "pages" / "metrics.json").read_text())


def test_a_broken_heatmap_gives_exit_code_one(explained):
    out = explained(people=[("sub-0003", "", "AD", "AD", 0.9), ("sub-0004", "", "CN", "CN", 0.1)])
    next(out.glob("sub-0003/anat/*network*.nii.gz")).write_bytes(b"")
    result = CliRunner().invoke(app, ["report", str(out)])
    assert result.exit_code == 1
    assert "failed: sub-0003" in result.stderr
    assert (out / "report" / "sub-0004.html").is_file()


def test_bad_input_is_one_line_and_exit_code_two(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "neuroxai", "report", str(tmp_path / "nowhere")], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_reports_need_no_torch():
    code = (
        "import sys, neuroxai.report, neuroxai.evaluation; print([m for m in ('torch', 'captum') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
