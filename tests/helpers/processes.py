"""Train a bundle in several processes, as torchrun starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = {"spacing": 5, "batch_size": 3, "learning_rate": 0.001}


def command(bundle: Path, cohort: Path, folder: Path, *overlays: Path, launcher: tuple[str, ...] = (), **options):
    """The training command; `launcher` are torchrun's own arguments, none for a single process."""
    multi = [bundle / "configs" / "multi_gpu_train.json"] if launcher else []
    files = [bundle / "configs" / "train.json", *multi, *overlays]
    settings = {
        "config_file": str([str(f) for f in files]),
        "bundle_root": bundle,
        "ckpt_dir": folder,
        "output_dir": folder / "eval",
        "dataset_dir": cohort,
        **SETTINGS,
        **options,
    }
    start = [sys.executable, "-m", "torch.distributed.run", *launcher] if launcher else [sys.executable]
    flags = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
    return [*start, "-m", "monai.bundle", "run", "training", *flags]


def start(arguments) -> subprocess.Popen[str]:
    """Start it; both streams can be read from ``stdout``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> str:
    """Wait for the end and return the output; nothing of it is left behind."""
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        stop(process)
    return output


def stop(process: subprocess.Popen[str]) -> None:
    """End a process with all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition, timeout: float = 120) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def workers(launched: subprocess.Popen[str]) -> dict[int, int]:
    """The process identifiers of what torchrun started, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(part.split("=", 1) for part in (folder / "environ").read_text().split("\0") if "=" in part)
        except (OSError, ValueError):
            continue
        if parent == launched.pid and "RANK" in variables:
            found[int(variables["RANK"])] = int(folder.name)
    return found
