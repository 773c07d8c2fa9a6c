from __future__ import annotations

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "experiments" / "quickstart_range.py"


def loaded():
    spec = importlib.util.spec_from_file_location("quickstart_range", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_run_is_planned_once():
    planned = loaded().planned
    # cohorts as the quickstart's seeds, then the first cohort with each training and each number of threads
    assert planned([1, 2], [1, 3], [1, 2]) == [(1, 1, 1), (2, 2, 1), (1, 1, 2), (1, 3, 1), (1, 3, 2)]
    assert planned([1], [1, 2], [1]) == [(1, 1, 1), (1, 2, 1)]


def test_figures_are_those_of_the_report(tmp_path):
    truth = {
        "density_ratio": {"patients": {"value": 8.0}, "controls": {"value": None}},
        "relevance_mass": {"patients": {"mean": 0.3}, "controls": {"mean": 0.1}},
    }
    record = {"classification": {"balanced_accuracy": {"value": 1.0}}, "known_truth": truth}
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    assert loaded().figures(tmp_path / "metrics.json") == {
        "balanced_accuracy": 1.0,
        "density_ratio_patients": 8.0,
        "relevance_mass_patients": 0.3,
        "density_ratio_controls": None,
        "relevance_mass_controls": 0.1,
    }
