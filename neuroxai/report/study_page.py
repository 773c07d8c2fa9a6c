"""The page of a study: answers, figures beside the paper's, tables, runs. Same values, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neuroxai._version import __version__
from neuroxai.compare.explained import RESEARCH_USE
from neuroxai.report.page import _environment, number

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 60
"""Rows of a table that the page shows; the file holds all."""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption."""

    png: bytes
    caption: str
    name: str


@dataclass(frozen=True)
class Table:
    """A table with its title."""

    title: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class StudyValues:
    """Everything that the page shows; text in it is escaped.

    Parameters
    ----------
    title, paper, about : str
        Heading, citation, what was asked.
    answers, doubts : sequence of str
        What came out, and what would change it.
    statistics : pandas.DataFrame
        Columns quantity, group, value, low, high, n, unit, method, p, effect, effect_name, note.
    published : sequence of dict
        The paper's: quantity, group, value, low, high, unit, note; ``ours`` is a row of the statistics or None.
    figures, tables
        In order.
    runs : pandas.DataFrame
        One row a run.
    failures : sequence of dict
        Scans that could not be used: run, participant_id, session_id, error.
    facts : sequence of (str, str)
        How it was made.
    """

    title: str
    paper: str
    about: str
    answers: Sequence[str]
    doubts: Sequence[str]
    statistics: pd.DataFrame
    published: Sequence[Mapping[str, Any]]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    runs: pd.DataFrame
    failures: Sequence[Mapping[str, str]]
    facts: Sequence[tuple[str, str]]
    research_use: str = RESEARCH_USE
    provenance: Sequence[tuple[str, str]] = field(default_factory=list)


def study_page(values: StudyValues) -> str:
    """Return the self-contained HTML page of a study."""
    template = _environment().get_template("study.html")
    return str(template.render(page=values, version=__version__, cell=cell, rows=rows, most=MOST_ROWS))


def rows(frame: pd.DataFrame) -> list[list[str]]:
    """Return a table's first rows as text."""
    return [[cell(value) for value in row] for row in frame.head(MOST_ROWS).itertuples(index=False, name=None)]


def cell(value: Any) -> str:
    """Write a cell for people."""
    if value is None or value != value:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else number(value, 4)
    return str(value)
