"""What a single value must be, as a test and in words for the one whose value fails it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Check = tuple[Callable[[Any], bool], str]

FLAG: Check = (lambda value: isinstance(value, bool), "true or false")


def whole(low: int, high: float = math.inf) -> Check:
    """Build the check for a whole number between limits, both included; true and false are none."""
    words = f"a whole number from {low} to {high}" if high < math.inf else f"a whole number, {low} or more"
    return lambda value: type(value) is int and low <= value <= high, words


def number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> Check:
    """Build the check for a finite number; limits are included unless `above` or `below` says otherwise."""
    words = f"a number {'above' if above else 'from'} {low:g}"
    words += f" {'and below' if below else 'to'} {high:g}" if high < math.inf else "" if above else " up"

    def fits(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (low < value if above else low <= value) and (value < high if below else value <= high)

    return fits, words


def among(choices: Sequence[str]) -> Check:
    """Build the check for one of these texts."""
    return lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"
