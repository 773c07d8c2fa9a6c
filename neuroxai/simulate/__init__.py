"""Cohorts of known truth: effects planted in a healthy anatomy, with sham twins as controls."""

from neuroxai.simulate.anatomy import Anatomy, mni152_anatomy
from neuroxai.simulate.atrophy import Atrophy
from neuroxai.simulate.cohort import EFFECTS, CohortSummary, simulate_cohort
from neuroxai.simulate.effect import Effect, Planted
from neuroxai.simulate.lesions import Lesions
from neuroxai.simulate.scan import Acquisition, Scan, simulate_scan

__all__ = [
    "EFFECTS",
    "Acquisition",
    "Anatomy",
    "Atrophy",
    "CohortSummary",
    "Effect",
    "Lesions",
    "Planted",
    "Scan",
    "mni152_anatomy",
    "simulate_cohort",
    "simulate_scan",
]
