"""Cohorts of known truth: effects planted in healthy anatomies, the template's or the user's, with sham twins."""

from neuroxai.simulate.anatomy import Anatomy, mni152_anatomy
from neuroxai.simulate.cohort import EFFECTS, simulate_cohort
from neuroxai.simulate.contrast import Curve, learn_curve
from neuroxai.simulate.effects.atrophy import Atrophy
from neuroxai.simulate.effects.base import Effect, Planted
from neuroxai.simulate.effects.lesions import Lesions
from neuroxai.simulate.outputs import CohortSummary
from neuroxai.simulate.pose import RandomPose
from neuroxai.simulate.real_scans import Planting, simulate_from
from neuroxai.simulate.regions import Regions
from neuroxai.simulate.scan import Acquisition, Scan, simulate_scan
from neuroxai.simulate.sources import Source, Sources, find_sources
from neuroxai.simulate.variability import Raw, ScanOptions

__all__ = [
    "EFFECTS",
    "Acquisition",
    "Anatomy",
    "Atrophy",
    "CohortSummary",
    "Curve",
    "Effect",
    "Lesions",
    "Planted",
    "Planting",
    "RandomPose",
    "Raw",
    "Regions",
    "Scan",
    "ScanOptions",
    "Source",
    "Sources",
    "find_sources",
    "learn_curve",
    "mni152_anatomy",
    "simulate_cohort",
    "simulate_from",
    "simulate_scan",
]
