"""One training a folder at a time; a full disk is said as such."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import subprocess
import sys

import pytest
import torch

from neuroxai.components import checkpoint
from neuroxai.components.checkpoint import _leave, _take
from neuroxai.components.weights import save
from neuroxai.errors import InputError, refused_by_the_system


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path):
    code = (
        "import sys, pathlib\nfrom neuroxai.components.checkpoint import _take\n"
        "_take(pathlib.Path(sys.argv[1]))\nprint('taken', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "taken\n"
        with pytest.raises(InputError, match=r"another training is at work in this folder.*--ckpt_dir"):
            _take(tmp_path)
        other.kill()
    # the system frees what a killed process held
    _take(tmp_path)
    _take(tmp_path)  # a training that goes on in this process
    handle = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    _leave(tmp_path)
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(handle)
    assert list(tmp_path.iterdir()) == []
    assert checkpoint._taken == {}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save(path, {"a": torch.ones(3)})
    before = path.read_bytes()
    full = functools.partial(open, "/dev/full", "wb")
    monkeypatch.setattr("neuroxai.components.weights.open", lambda *_: full(), raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        save(path, {"a": torch.ones(10**5)})
    assert caught.value.errno == errno.ENOSPC
    assert "make room" in refused_by_the_system(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
