"""Layer-wise relevance propagation: rules as data, one engine, any 1D, 2D or 3D convolutional network."""

from __future__ import annotations

from neuroxai.lrp import composites
from neuroxai.lrp.api import LRP
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.rules import AlphaBeta, Epsilon, Flat, Gamma, Pass, Rule, WSquare, ZBox, Zero, ZPlus

__all__ = [
    "LRP",
    "AlphaBeta",
    "Composite",
    "Epsilon",
    "Flat",
    "Gamma",
    "Pass",
    "Rule",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
    "composites",
]
