"""Fixtures of the reports' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.explain_folder import write_explain_folder


@pytest.fixture
def explained(tmp_path: Path):
    """A function that writes an explain folder and returns its path."""
    return lambda **options: write_explain_folder(tmp_path, **options)
