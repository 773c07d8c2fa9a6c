"""Names for what was asked for: the same settings, the same digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any, length: int = 12) -> str:
    """Return the first digits of the SHA-256 of a plain value, whatever the order of keys.

    Examples
    --------
    >>> digest({"a": 1, "b": [2.0]}) == digest({"b": [2.0], "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
