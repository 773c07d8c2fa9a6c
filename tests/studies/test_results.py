import numpy as np

from helpers.runs import Runs
from helpers.studies import declared
from neuroxai.studies import Finding, Findings, read_study


def test_results_say_which_runs_there_are(tmp_path):
    cohorts = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}
    study = read_study(declared(tmp_path / "mine.yaml", cohorts=cohorts, arms={"small": {}, "large": {}}))
    made = Runs(tmp_path / "study", study)
    for arm, repetition in (("small", 0), ("small", 1), ("large", 0)):
        made.add(arm, repetition=repetition, true=np.arange(8) > 3, probability=np.linspace(0, 1, 8))
    results = made.results
    assert repr(results) == (
        f"Results({study.name}: finished runs by arm: small (2), large (1); in {tmp_path / 'study'})"
    )
    assert results._repr_html_().count("<tr") == 4
    assert "balanced_accuracy" in results._repr_html_()


def test_findings_say_what_the_study_answers():
    found = Findings(figures=[Finding("a", "b", 1.0)], answers=["It is so."], doubts=["One cohort."])
    assert repr(found) == "Findings(1 figures, 0 tables, 0 pictures)\nIt is so.\nbut: One cohort."
