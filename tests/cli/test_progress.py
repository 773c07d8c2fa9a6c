"""A log file gets lines with times in the place of a bar."""

import re
import time

import pytest

from neuroxai.cli import _progress
from neuroxai.cli._progress import progress_bar


def lines(capsys):
    found = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\[\d+:\d\d:\d\d\] ", line) for line in found), found
    return [line.partition("] ")[2] for line in found]


def test_begin_change_and_end_are_told(capsys):
    with progress_bar("simulating") as progress:
        for done in range(4):
            progress(done, 3)
        progress(0, 2, "training")
        progress(1, 2, "training")
        progress(2, 2, "training")
        progress(2, 2, "training")
    assert lines(capsys) == ["simulating: 0 of 3", "simulating: 3 of 3", "training: 0 of 2", "training: 2 of 2"]


def test_a_notebook_that_forces_colours_gets_lines_too(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("scans") as progress:
        progress(1, 1)
    assert lines(capsys) == ["scans: 1 of 1"]


def test_now_and_then_what_is_under_way(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "OFTEN", 0.0)
    with progress_bar("scans") as progress:
        progress(0, None)
        progress(1, None)
    assert lines(capsys) == ["scans", "scans"]


def test_where_nothing_comes_a_line_says_that_it_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "SELDOM", 0.05)
    with progress_bar("scans") as progress:
        progress(1, 3)
        time.sleep(0.3)
    found = lines(capsys)
    assert len(found) >= 3
    assert set(found) == {"scans: 1 of 3"}


def test_quiet_is_silent_and_errors_pass(capsys):
    with progress_bar("scans", quiet=True) as progress:
        progress(0, 1)
    assert lines(capsys) == []
    with pytest.raises(ValueError, match="x"), progress_bar("scans"):
        raise ValueError("x")
