"""Layer-wise relevance propagation: rules as data, one engine, any 1D, 2D or 3D convolutional network."""

from __future__ import annotations

from neuroxai.lrp import composites
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.explain import LRP
from neuroxai.lrp.rules import AlphaBeta, Epsilon, Gamma, Pass, Rule, Zero, ZPlus

__all__ = ["LRP", "AlphaBeta", "Composite", "Epsilon", "Gamma", "Pass", "Rule", "ZPlus", "Zero", "composites"]
