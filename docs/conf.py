"""The documentation's site: `bash scripts/docs.sh`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from neuroxai._version import __version__

project = "neuroxai"
author = "neuroxai developers"
copyright = "2026, neuroxai developers"
release = version = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "outside_pages",
    "command_reference",
    "mathml",
    "notebook_runs",
]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "myst-nb"}
# notebooks run when the site is built; a cell that fails stops the build
nb_execution_mode = "cache"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress, and what libraries say of themselves
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "neuroxai"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_repository": "", "footer_icons": []}
html_show_sphinx = False
# links between pages are checked by -W; anchors are made for three levels of headings
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath"]
copybutton_exclude = ".linenos, .gp, .go"
# words of types in docstrings, such as regions in "shape (regions,)", are looked up as names; there may be several
suppress_warnings = ["ref.python"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_mock_imports = ["monailabel", "fastapi"]
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True


def _stars(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Shapes such as (batch, 1, *shape) are no emphasis."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"(?<![\\*\w])\*(?=\w)", r"\\*", part) for part in parts[::2]]
        lines[number] = "``".join(parts)


# what axe-core finds in pages of furo and myst-nb: a heading without a level, a label that hides the text, a table that
# scrolls and that the keyboard does not reach; and an option's name that breaks after its hyphens
_ACCESSIBLE = {
    'role="heading">': 'role="heading" aria-level="2">',
    '<summary aria-label="Toggle hidden content">': "<summary>",
    '<table class="docutils align-default">': '<table class="docutils align-default" tabindex="0">',
    '<table border="1" class="dataframe">': '<table border="1" class="dataframe" tabindex="0">',
    '<span class="pre">--': '<span class="pre option">--',
}


def _accessible(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    for part in ("body", "furo_navigation_tree"):
        for found, better in _ACCESSIBLE.items():
            if context.get(part):
                context[part] = context[part].replace(found, better)


def setup(app: Any) -> None:
    """Register with Sphinx; before napoleon, which turns sections into fields, and after the theme."""
    app.connect("autodoc-process-docstring", _stars, priority=400)
    app.connect("html-page-context", _accessible, priority=900)
