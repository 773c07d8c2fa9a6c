"""Layers that the published networks need and torch lacks."""

from neuroxai.layers.patches import PatchGrid
from neuroxai.layers.pif import PatchIndividualFilter
from neuroxai.layers.strains import Strain

__all__ = ["PatchGrid", "PatchIndividualFilter", "Strain"]
