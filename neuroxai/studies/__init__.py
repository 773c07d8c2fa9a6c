"""The published studies, and one's own, as declared experiments that can be killed, resumed and shared out."""

from __future__ import annotations

from neuroxai.studies.check import check
from neuroxai.studies.engine import RunOptions, Summary, run_study
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.reading import names, read_study, text_of
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Arm, CohortSource, Explanation, Search, Split, Statistics, Study

__all__ = [
    "Arm",
    "CohortSource",
    "Explanation",
    "Finding",
    "Findings",
    "FinishedRun",
    "Picture",
    "Results",
    "RunOptions",
    "Search",
    "Split",
    "Statistics",
    "Study",
    "Summary",
    "check",
    "names",
    "read_study",
    "run_study",
    "text_of",
]
