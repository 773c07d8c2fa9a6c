"""Pages that live outside docs/ (README, model cards) join the site, and links between all pages hold in both places.

On a code host the files are read where they lie; here copies stand in docs/generated, and every relative link is
turned to where its target is in the site. A link to a file that is no page becomes plain text.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
REPOSITORY = DOCS.parent
GENERATED = "generated"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def outside() -> dict[Path, str]:
    """Return every page outside docs/ and the name that it has in the site."""
    pages = {
        REPOSITORY / "README.md": "readme",
        REPOSITORY / "CONTRIBUTING.md": "contributing",
        REPOSITORY / "CHANGELOG.md": "changelog",
    }
    for card in sorted(REPOSITORY.glob("bundles/*/docs/README.md")):
        pages[card] = f"model-card-{card.parents[1].name}"
    return {path: f"{GENERATED}/{name}" for path, name in pages.items()}


def copy(app: Any) -> None:
    """Write the copies; `rewrite` turns their links."""
    folder = DOCS / GENERATED
    folder.mkdir(exist_ok=True)
    cards = set(REPOSITORY.glob("bundles/*/docs/README.md"))
    for path, name in outside().items():
        target = DOCS / f"{name}.md"
        text = path.read_text(encoding="utf-8")
        if path in cards:  # all have one heading, by which the zoo knows them
            about = json.loads((path.parents[1] / "configs" / "metadata.json").read_text(encoding="utf-8"))
            text = text.replace("# Model overview", f"# {about['name']}", 1)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def rewrite(app: Any, name: str, source: list[str]) -> None:
    """Turn the links of one page."""
    origin = {docname: path for path, docname in outside().items()}.get(name, DOCS / f"{name}.md")
    places = {path.resolve(): docname for path, docname in outside().items()}

    def turned(match: re.Match[str]) -> str:
        mark, text, target, anchor = match.groups()
        if not target or "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = (origin.parent / target).resolve()
        here = (DOCS / name).parent
        if path in places:
            return f"[{text}]({os.path.relpath(DOCS / places[path], here)}.md{anchor or ''})"
        if DOCS in path.parents and path.suffix in (".md", ".png", ".svg"):
            return f"{mark}[{text}]({os.path.relpath(path, here)}{anchor or ''})"
        if not path.exists():
            return match.group(0)  # broken: the build says so
        return text

    blocks = re.split(r"(```.*?```)", source[0], flags=re.DOTALL)
    source[0] = "".join(part if part.startswith("```") else LINK.sub(turned, part) for part in blocks)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", lambda app, config: copy(app))
    app.connect("source-read", rewrite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
