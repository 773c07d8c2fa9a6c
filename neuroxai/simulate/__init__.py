"""Cohorts of known truth: effects planted in healthy anatomies, the template's or the user's, with sham twins."""

from neuroxai.simulate.anatomy import Anatomy, mni152_anatomy
from neuroxai.simulate.atrophy import Atrophy
from neuroxai.simulate.choice import Regions
from neuroxai.simulate.cohort import EFFECTS, simulate_cohort
from neuroxai.simulate.curve import Curve
from neuroxai.simulate.effect import Effect, Planted
from neuroxai.simulate.extras import Extras
from neuroxai.simulate.flair_pairs import learn_curve
from neuroxai.simulate.head import Raw
from neuroxai.simulate.lesions import Lesions
from neuroxai.simulate.planting import Planting
from neuroxai.simulate.pose import Misalign
from neuroxai.simulate.records import CohortSummary
from neuroxai.simulate.scan import Acquisition, Scan, simulate_scan
from neuroxai.simulate.sources import Source, Sources, find_sources
from neuroxai.simulate.twins import simulate_from

__all__ = [
    "EFFECTS",
    "Acquisition",
    "Anatomy",
    "Atrophy",
    "CohortSummary",
    "Curve",
    "Effect",
    "Extras",
    "Lesions",
    "Misalign",
    "Planted",
    "Planting",
    "Raw",
    "Regions",
    "Scan",
    "Source",
    "Sources",
    "find_sources",
    "learn_curve",
    "mni152_anatomy",
    "simulate_cohort",
    "simulate_from",
    "simulate_scan",
]
