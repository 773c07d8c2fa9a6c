"""The lines that pages print for a terminal, as one script a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


class Snippet(NamedTuple):
    """A block of a page: its language, and its text with continued lines joined."""

    language: str
    text: str


def pages() -> dict[str, Path]:
    """Every page that readers see, by its path in the repository."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("bundles/*/docs/*.md")]
    copies = [REPOSITORY / "docs" / name for name in ("generated", "_build")]  # what the site is made of, and it
    own = [page for page in sorted(found) if not any(page.is_relative_to(folder) for folder in copies)]
    return {str(page.relative_to(REPOSITORY)): page for page in own}


def snippets(page: Path) -> list[Snippet]:
    """The blocks of a page that are to be run; Python sessions with ``>>>`` are doctest's."""
    found = [Snippet(language, text.replace("\\\n", " ")) for language, text in FENCE.findall(page.read_text())]
    return [one for one in found if not one.text.startswith(">>>")]


def bare(line: str) -> str:
    """A line without its comment and indentation, with single blanks."""
    return " ".join(re.sub(r"(^|\s)#.*", "", line).split())


def lines(page: Path) -> Iterator[str]:
    """The bare lines of a page's shell blocks."""
    for one in snippets(page):
        if one.language == "bash":
            yield from filter(None, map(bare, one.text.splitlines()))
