"""The site's notebooks run, cell by cell, as they do when the site is built."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from helpers.snippets import REPOSITORY

PAGES = sorted(page for page in (REPOSITORY / "docs").glob("**/*.md") if "\n```{code-cell}" in page.read_text())
PAGES = [page for page in PAGES if "_build" not in page.parts]


@pytest.fixture(scope="module")
def run_folder(monkeypatch_module):
    monkeypatch_module.syspath_prepend(str(REPOSITORY / "docs" / "_ext"))
    from notebook_runs import run_folder

    return run_folder()


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "MPLBACKEND"):  # put back afterwards
            patch.setenv(name, "")
        yield patch


def test_every_task_of_a_newcomer_has_one():
    assert {page.stem for page in PAGES} == {
        "any-network", "your-own-scans", "trust", "controls", "bundle", "transformers", "gallery",
    }  # fmt: skip


@pytest.mark.full(2)
@pytest.mark.integration
@pytest.mark.xdist_group("notebooks")
@pytest.mark.skipif(find_spec("myst_nb") is None, reason="myst-nb is not installed: it wants Python 3.11 or later")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs(page, run_folder):
    from myst_nb.core.read import read_myst_markdown_notebook
    from myst_parser.config.main import MdParserConfig
    from nbclient import NotebookClient

    notebook = read_myst_markdown_notebook(page.read_text(), MdParserConfig())
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()  # raises where a cell fails
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in shown for kind in output.get("data", ())}
    assert kinds & {"image/png", "text/html"}, f"{page.name} shows no picture"
    errors = [output.text for output in shown if output.get("name") == "stderr" and "Traceback" in output.text]
    assert not errors
