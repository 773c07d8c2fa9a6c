"""Tests that share what is costly, or must not run side by side, go to one worker."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("workers")
def test_groups_are_kept(request):
    """Pytest-xdist tells them by a test's name, and under some versions of pytest it does not, and says nothing."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs all tests, so that there is nothing to be kept together")
    assert request.node.nodeid.endswith("@workers")


def test_names_are_short(request):
    """Each is sent from worker to worker, some of them several times."""
    assert max(len(item.nodeid) for item in request.session.items) < 1000
