"""What a region's name says: its hemisphere, or that it is background."""

from __future__ import annotations

import re

_BACKGROUND = re.compile(r"(background|unknown|clear label|unclassified|unlabell?ed)\b[\s*.]*$", re.IGNORECASE)
_SIDES = (
    # "Left Hippocampus", "lh-insula", "L_insula", "ctx-lh-insula", "Hippocampus L", "insula_R", "insula (left)"
    re.compile(r"(?P<before>)\b(?P<side>left|right|lh|rh)[\s_.-]+(?P<after>\S.*)", re.IGNORECASE),
    re.compile(r"(?P<before>)(?P<side>L|R)[\s_.-]+(?P<after>\S.*)"),
    re.compile(r"(?P<before>(?:ctx|wm|ctx_|wm_|S|G)[-_])(?P<side>lh|rh)[-_](?P<after>\S.*)", re.IGNORECASE),
    re.compile(r"(?P<before>.*[^\s_.,-])[\s_.,-]+\(?(?P<side>left|right|lh|rh)\)?(?P<after>)", re.IGNORECASE),
    re.compile(r"(?P<before>.*[^\s_.,-])(?:[\s_.,-]+|\s*\()(?P<side>L|R)\)?(?P<after>)"),
)


def is_background(name: str) -> bool:
    """Tell whether a label's name says that it is no region (Background, Unknown, Clear Label, Unclassified)."""
    return _BACKGROUND.match(name.strip()) is not None


def split_side(name: str) -> tuple[str, str]:
    """Split a region's name into its hemisphere and the rest.

    Parameters
    ----------
    name : str
        Such as ``"Left Hippocampus"``, ``"Cingulum (hippocampus) L"``, ``"ctx-lh-insula"``.

    Returns
    -------
    tuple of str
        ``"left"``, ``"right"`` or ``""``, and the name without the side.

    Examples
    --------
    >>> split_side("Right Amygdala")
    ('right', 'Amygdala')
    >>> split_side("Corticospinal tract L")
    ('left', 'Corticospinal tract')
    >>> split_side("ctx-rh-insula")
    ('right', 'ctx-insula')
    >>> split_side("Brain-Stem")
    ('', 'Brain-Stem')
    """
    text = name.strip()
    for pattern in _SIDES:
        found = pattern.fullmatch(text)
        if found:
            side = "left" if found["side"].lower().startswith("l") else "right"
            return side, (found["before"] + found["after"]).strip()
    return "", text
