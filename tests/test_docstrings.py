"""The examples of docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

from helpers.snippets import REPOSITORY

PACKAGE = REPOSITORY / "neuroxai"
FILES = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text())


def test_there_are_some():
    assert len(FILES) > 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: ".".join(file.relative_to(PACKAGE).with_suffix("").parts))
def test_examples_run(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(".".join(file.relative_to(REPOSITORY).with_suffix("").parts))
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for one in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__):
        runner.run(one, out=report.append)
    assert not report, "".join(report)
