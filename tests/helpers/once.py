"""What is costly to make and made once a session, by whichever worker wants it first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills in one process of the session, for all of them to read.

    Parameters
    ----------
    factory : pytest.TempPathFactory
        The session's.
    name : str
        The folder's.
    make : callable
        Is given a path that does not exist yet. The others wait; if it fails, the next one begins anew.
    """
    own = factory.getbasetemp()
    # pytest-xdist gives each worker a folder of its own in the session's
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"
    root.mkdir(exist_ok=True)
    folder, done = root / name, root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


def own_copy(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a worker's own copy of what is made once, under its name in a new folder."""
    return Path(shutil.copytree(made_once(factory, name, make), factory.mktemp(name) / name))
