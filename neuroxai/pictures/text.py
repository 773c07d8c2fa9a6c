"""Figures as people read them."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure for people: significant digits, a true minus sign; ``n/a`` where there is none."""
    if value is None or not math.isfinite(value):
        return "n/a"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """Write a share as a percentage with one decimal."""
    return "n/a" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"
