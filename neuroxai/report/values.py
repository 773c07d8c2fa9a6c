"""What the pages show, as plain values: the templates compute nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neuroxai.compare.controls import AgainstControls
from neuroxai.compare.scores import Region
from neuroxai.compare.several_models import SeveralModels
from neuroxai.derivatives.explained import RESEARCH_USE, Failure
from neuroxai.evaluation import Estimate
from neuroxai.evaluation.calibration import Bin
from neuroxai.statistics.effects import Effect

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 60
"""Rows of a study's table that its page shows; the file holds all."""


@dataclass(frozen=True)
class RegionMeans:
    """Relevance of one named region over groups; ``gain`` is mean sum of patients over mean sum of controls."""

    name: str
    sums: Mapping[str, float | None]
    densities: Mapping[str, float | None]
    gain: float | None


@dataclass(frozen=True)
class Calibrated:
    """A calibrated probability with its 95 % interval, and how many scans it was calibrated on."""

    value: float
    low: float
    high: float
    scans: int


@dataclass(frozen=True)
class Strength:
    """A heatmap's strength, and the scale that its colours have.

    Parameters
    ----------
    total : float
        Absolute relevance of all voxels.
    own : float
        The limit that the scan would have alone; the end colours if the picture is stretched.
    limit : float
        The limit of the picture.
    source : str
        In words: whose scale it is.
    weaker_than : float or None
        Share of patients whose map is stronger.
    patients : int
        How many patients that share is of.
    middle : float or None
        Median total of those patients.
    """

    total: float
    own: float
    limit: float
    source: str
    weaker_than: float | None = None
    patients: int = 0
    middle: float | None = None

    @property
    def faint(self) -> bool:
        """Whether the picture hides what a stretched one would show."""
        return self.own < 0.5 * self.limit


@dataclass(frozen=True)
class ScanValues:
    """One scan's page.

    Parameters
    ----------
    title : str
        Participant and session.
    probabilities : mapping of str to float
        Class to probability.
    predicted, true : str
        Class names; `true` is empty where unknown.
    target : str
        The class whose logit is explained.
    score : float or None
        That logit.
    start : str
        Where the method starts to share out, as the sidecar says: the logit, or the probability.
    mosaic : bytes
        JPEG of heatmap over scan.
    mosaic_space : str
        Grid that is drawn.
    limit : float
        Of the colour scale.
    strength : Strength or None
        How strong the heatmap is beside others; None says that the scale is the scan's own.
    stretched : bytes or None
        JPEG on the scan's own scale, where the map is faint on the common one.
    regions : mapping of str to sequence of Region
        Four lists: ``sum for``, ``sum against``, ``density for``, ``density against``; empty where no scores.
    provenance : sequence of (str, str)
        Label and value.
    notes : sequence of str
        What the reader must know about this scan.
    outside : float or None
        Share of the relevance's magnitude outside the brain; None where the scan or all relevance is absent.
    method : str
        Name of the attribution method.
    person : sequence of (str, str)
        What is known of person and scan: label and value.
    flags : sequence of str or None
        Quality flags of `neuroxai prepare`; None where it did not prepare the scan, or its record cannot be used.
    other_version : bool
        That record was written by another version.
    calibrated : Calibrated or None
        The probability of the class explained after calibration on other scans.
    calibrated_on : str
        On what the training calibrated the network's probabilities; empty if it did not.
    controls : AgainstControls or None
        The regions' places among healthy controls.
    models : SeveralModels or None
        The same scan explained by other trainings.
    viewer : str
        JSON for the page's viewer; empty for none.
    neighbours : sequence of (str, str, str)
        ``"previous"`` or ``"next"``, title and page of the scans beside this one.
    thumbnail : bytes
        Small JPEG for the cohort's page.
    trust : str
        How far the method can be believed, by planted effects; empty where that was not measured.
    fit, unlike : str
        Whether the scan looks like the training scans, and what does not; empty where it is not known.
    """

    title: str
    probabilities: Mapping[str, float]
    predicted: str
    true: str
    target: str
    score: float | None
    mosaic: bytes
    mosaic_space: str
    limit: float
    regions: Mapping[str, Sequence[Region]]
    provenance: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()
    start: str = "logit"
    outside: float | None = None
    method: str = ""
    person: Sequence[tuple[str, str]] = ()
    flags: Sequence[str] | None = None
    other_version: bool = False
    calibrated: Calibrated | None = None
    calibrated_on: str = ""
    controls: AgainstControls | None = None
    models: SeveralModels | None = None
    viewer: str = ""
    neighbours: Sequence[tuple[str, str, str]] = ()
    thumbnail: bytes = b""
    fit: str = ""
    unlike: str = ""
    strength: Strength | None = None
    held_out: str = ""
    trust: str = ""
    stretched: bytes | None = None
    research_use: str = RESEARCH_USE


@dataclass(frozen=True)
class GroupMap:
    """Mean heatmap of a group; no figure where the group is empty, or holds the scans of another one (`same_as`)."""

    name: str
    n: int
    figure: bytes | None
    same_as: str = ""


@dataclass(frozen=True)
class ScanLink:
    """A line of the table of scans; `page` is relative and empty where no page could be made.

    ``outside`` is the share of the relevance's magnitude outside the brain, None where it is unknown; ``fit`` says
    whether the scan looks like the training scans, empty where it is unknown; ``thumbnail`` is a small JPEG.
    """

    title: str
    page: str
    true: str
    predicted: str
    probability: float
    cell: str
    outside: float | None = None
    fit: str = ""
    thumbnail: bytes = b""


@dataclass(frozen=True)
class CohortValues:
    """The cohort's page.

    Parameters
    ----------
    positive : str
        The class of the patients, which all figures of classification take as positive.
    controls : str
        The class of the controls.
    explained : str
        The class whose heatmaps are averaged.
    metrics : mapping of str to Estimate
        Empty where no true labels are known.
    confusion : mapping of str to sequence of ScanLink
        ``TP``, ``FP``, ``TN``, ``FN``.
    truth : mapping
        Known-truth figures (`neuroxai.report.cohort.truth`), empty where there are no masks.
    outside : mapping or None
        ``mean`` and ``highest`` share of relevance outside the brain, the ``scan`` that has it, ``n`` scans.
    reliability, reliability_figure, brier
        Probabilities against what was true.
    fingerprints : bytes or None
        PNG of scans by regions.
    highest : mapping of str to ScanLink
        The scan in which a region has its highest density.
    flagged : sequence of (ScanLink, str)
        Scans with a quality flag.
    anatomy : str
        What mean heatmaps are drawn over, in words; empty for nothing.
    comparison : bytes or None
        PNG of the means of patients and controls, their difference and its t; None where a group is too small. Where it
        is there, these two are not among the `groups`.
    methods, references : sequence of str
        What was done, in paragraphs for a paper, and what they cite.
    effects : mapping of str to Effect
        The regions in which patients and controls differ most, the largest differences first.
    trust : str
        How far the method can be believed, by planted effects; empty where that was not measured.
    """

    classes: Sequence[str]
    positive: str
    scans: int
    participants: int
    labelled: int
    metrics: Mapping[str, Estimate]
    confusion: Mapping[str, Sequence[ScanLink]]
    roc: bytes | None
    groups: Sequence[GroupMap]
    limit: float
    regions: Sequence[RegionMeans]
    region_groups: Sequence[str]
    truth: Mapping[str, Any]
    links: Sequence[ScanLink]
    failures: Sequence[Failure]
    provenance: Sequence[tuple[str, str]]
    controls: str = ""
    explained: str = ""
    held_out: str = ""
    notes: Sequence[str] = field(default_factory=tuple)
    outside: Mapping[str, Any] | None = None
    reliability: Sequence[Bin] = ()
    reliability_figure: bytes | None = None
    brier: float | None = None
    fingerprints: bytes | None = None
    fingerprint_regions: int = 0
    highest: Mapping[str, ScanLink] = field(default_factory=dict)
    flagged: Sequence[tuple[ScanLink, str]] = ()
    anatomy: str = ""
    comparison: bytes | None = None
    effects: Mapping[str, Effect] = field(default_factory=dict)
    methods: Sequence[str] = ()
    references: Sequence[str] = ()
    trust: str = ""
    research_use: str = RESEARCH_USE


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
        One row per run.
    failures : sequence of dict
        Scans that could not be used: run, participant_id, session_id, error.
    declaration : sequence of (str, str)
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
    declaration: Sequence[tuple[str, str]]
    research_use: str = RESEARCH_USE
    provenance: Sequence[tuple[str, str]] = field(default_factory=list)
