"""Text files damaged at random: what is typed, pasted or cut wrongly in them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence


def damaged(text: str, rng: random.Random, inserted: Sequence[str], digit: str = r"\d", table: bool = False) -> str:
    """Insert, cut, swap, drop and repeat characters and lines, and change digits; in a table cells and line ends."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        lines = text.split("\n")
        one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(9 if table else 7)
        if kind < 2:
            text = text[:at] + rng.choice(inserted) + text[at:]
        elif kind == 2:
            text = text[:at] + text[at + rng.choice((1, 1, 2, 9)) :]
        elif kind == 3:
            lines[one], lines[two] = lines[two], lines[one]
            text = "\n".join(lines)
        elif kind == 4:
            text = "\n".join(lines[:one] + lines[one + 1 :])
        elif kind == 5:
            text = "\n".join([*lines[:one], lines[two], *lines[one:]])
        elif kind == 6:
            text = re.sub(digit, lambda m: str(rng.randrange(10)) if rng.random() < 0.1 else m[0], text)
        elif kind == 7:
            cells = lines[one].split("\t")
            rng.shuffle(cells)
            lines[one] = "\t".join(cells)
            text = "\n".join(lines)
        else:
            text = text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\t\n", " \n")))
    return text
