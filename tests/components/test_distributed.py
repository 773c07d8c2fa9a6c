"""What needs no second process; two processes train in tests/bundles/test_processes.py."""

from __future__ import annotations

import math

import pytest
import torch

from neuroxai.components import distributed as processes
from neuroxai.components import local_device, start_processes
from neuroxai.errors import InputError


def test_one_process_is_the_first_and_alone():
    assert processes.is_main_process()
    assert (processes.process_number(), processes.process_count()) == (0, 1)
    assert processes.mean_over_processes(6.0, 4) == 1.5
    assert math.isnan(processes.mean_over_processes(0.0, 0))
    processes.end_processes()


def test_the_device_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device() == torch.device("cuda", 1)
    assert local_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="process 2 of this machine has no GPU, for there are 2"):
        local_device()


def test_without_torchrun_the_overlay_is_refused(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="RANK is not set; start them with torchrun"):
        start_processes(torch.device("cpu"))


def test_a_lost_process_is_told_from_other_errors(monkeypatch):
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.1.1]:3217")
    wrapped = ValueError("wrapped")
    wrapped.__cause__ = lost
    assert processes.lost_process(lost) is None  # no group, no other process
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert "Connection closed by peer" in processes.lost_process(wrapped)
    assert "run the same command again" in processes.lost_process(lost)
    assert processes.lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
