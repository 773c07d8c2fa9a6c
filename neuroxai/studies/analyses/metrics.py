"""Metrics of each arm over its runs: what any study can be given."""

from __future__ import annotations

from neuroxai.studies.analyses.shared import metric_findings, runs_doubt
from neuroxai.studies.findings import Findings
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Study


def check(study: Study) -> None:
    """Nothing is asked for beyond what every study has."""


def analyse(results: Results) -> Findings:
    """Means of the test metrics, by arm."""
    return Findings(metric_findings(results), doubts=[runs_doubt(results)])
