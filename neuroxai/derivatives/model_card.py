"""The section of a bundle's model card, ``docs/README.md``, that a trust card takes."""

from __future__ import annotations

import re

MODEL_CARD = "docs/README.md"
_BEGIN, _END = "<!-- trust card: made by neuroxai trust -->", "<!-- end of the trust card -->"
_WEIGHTS = re.compile(r"Weights\s+`([0-9a-f]{12})`")


def weights_line(sha256: str) -> str:
    """Return the sentence by which a section names its weights."""
    return f"Weights `{sha256[:12]}`."


def with_section(text: str, section: str) -> str:
    """Return a model card with a section, in the place of the one that it had."""
    before, begin, rest = text.partition(_BEGIN)
    block = f"{_BEGIN}\n{section}{_END}"
    return f"{before}{block}{rest.partition(_END)[2]}" if begin else f"{text.rstrip()}\n\n{block}\n"


def without_section(text: str) -> str:
    """Return a model card for other weights, of which no trust card is known."""
    before, begin, rest = text.partition(_BEGIN)
    return f"{before.rstrip()}\n{rest.partition(_END)[2]}".rstrip() + "\n" if begin else text


def is_of_other_weights(text: str, sha256: str) -> bool:
    """Whether a model card has a section that is not of these weights."""
    _, begin, rest = text.partition(_BEGIN)
    found = _WEIGHTS.search(rest.partition(_END)[0])
    return bool(begin) and (found is None or not sha256.startswith(found[1]))
