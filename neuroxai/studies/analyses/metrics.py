"""Metrics of each arm over its runs: what any study can be given."""

from __future__ import annotations

from neuroxai.studies.analyses._common import metric_findings, runs_doubt
from neuroxai.studies.declaration import Study
from neuroxai.studies.findings import Findings
from neuroxai.studies.results import Results


def check(study: Study) -> None:
    """Nothing is asked for beyond what every study has."""


def analyse(results: Results) -> Findings:
    """Means of the test metrics, by arm."""
    return Findings(metric_findings(results), doubts=[runs_doubt(results)])
