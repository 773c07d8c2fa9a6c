"""Regions of explained scans against healthy controls: groups, gain, each person's percentiles, fingerprints."""

from neuroxai.compare.build import Comparison, Settings, build_comparison

__all__ = ["Comparison", "Settings", "build_comparison"]
