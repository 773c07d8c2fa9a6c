"""The documentation's site builds without a warning, and holds what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.full(1)
@pytest.mark.skipif(find_spec("sphinx") is None, reason="sphinx is not installed: it wants Python 3.11 or later")
def test_the_site_builds_and_no_link_is_broken(tmp_path):
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    # source pages of all modules take half the time and have no links to check
    words += [
        "-D",
        "extensions=myst_nb,sphinx.ext.autodoc,sphinx.ext.napoleon,sphinx_design,outside_pages,command_reference,mathml",
    ]
    # tests/e2e/test_notebooks.py runs them; their language is not known before
    words += ["-D", "nb_execution_mode=off", "-D", "suppress_warnings=ref.python,myst-nb.lexer"]
    done = subprocess.run(
        [*words, "docs", str(tmp_path / "html")], cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    site = tmp_path / "html"
    commands = (site / "generated" / "commands.html").read_text()
    for command in ("neuroxai explain", "neuroxai study run", "neuroxai label start", "--dicom-out"):
        assert command in commands
    assert "relevance_parametric-map.dcm" in (site / "how-to" / "dicom.html").read_text()
    assert "PatchIndividualFilter" in (site / "reference" / "layers.html").read_text()
    assert list(site.glob("generated/model-card-*.html"))
    assert "<mfrac" in (site / "concepts" / "relevance.html").read_text()
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'role="heading">' not in text, page.name  # without a level, of which axe-core complains
        assert 'src="http' not in text, page.name  # nothing is fetched when a page is read, no MathJax either
        assert '<link rel="stylesheet" type="text/css" href="http' not in text, page.name
