"""One bundle under trial: a copy of it, a cohort, and the commands a user would type."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroxai.bundles.catalogue import WRITTEN
from neuroxai.bundles.checks.phantoms import SPACING

TIMEOUT = 300.0  # seconds; no command takes a tenth of it on an idle machine
MONAI = (sys.executable, "-m", "monai.bundle")


class Problem(Exception):
    """What is wrong with a bundle, in one line."""


@dataclass
class Trial:
    """A bundle under trial.

    Parameters
    ----------
    source : pathlib.Path
        The bundle as it lies in the repository; never written to.
    folder : pathlib.Path
        Scratch folder of this trial alone; the copy that is tried lies in it.
    cohort : pathlib.Path
        Scans with a ``datalist.json``.
    """

    source: Path
    folder: Path
    cohort: Path
    bundle: Path = field(init=False)
    elsewhere: Path = field(init=False)

    def __post_init__(self) -> None:
        self.bundle = self.copy("trial")
        self.elsewhere = self.folder / "elsewhere"
        self.elsewhere.mkdir(exist_ok=True)

    @property
    def model(self) -> Path:
        """The trained weights.

        Raises
        ------
        Problem
            If the training left none.
        """
        path = self.bundle / "models" / "model.pt"
        if not path.is_file():
            raise Problem("there are no weights, because the training failed")
        return path

    def copy(self, name: str) -> Path:
        """Copy the bundle's sources, without what training wrote, into the scratch folder."""
        target = self.folder / name / self.source.name
        shutil.copytree(self.source, target, ignore=shutil.ignore_patterns(*WRITTEN))
        return target

    def run(self, *words: str, configs: Sequence[str], bundle: Path | None = None, **options: Any) -> str:
        """Run ``python -m monai.bundle`` from a foreign working directory; return what it printed."""
        return self.monai(
            *words, "--config_file", config_files(bundle or self.bundle, configs), cwd=self.elsewhere,
            bundle_root=bundle or self.bundle, **options,
        )  # fmt: skip

    def run_inside(self, *words: str, configs: Sequence[str], **options: Any) -> str:
        """Run ``python -m monai.bundle`` from the bundle's root, with relative paths; return what it printed."""
        files = config_files(Path(), configs)
        return self.monai(*words, "--config_file", files, cwd=self.bundle, **options)

    def monai(self, *words: str, cwd: Path, **options: Any) -> str:
        """Run ``python -m monai.bundle`` in a process of its own; return what it printed."""
        return finish([start([*MONAI, *words, *as_options(options)], cwd)])[0]

    @property
    def training_options(self) -> dict[str, Any]:
        """Options of a short training."""
        return {"dataset_dir": self.cohort, "spacing": SPACING, "max_epochs": 2, "batch_size": 4}


def config_files(bundle: Path, names: Sequence[str]) -> str:
    """Spell the configuration files as the command line wants them: one path, or a list."""
    paths = [str(bundle / "configs" / name) for name in names]
    return paths[0] if len(paths) == 1 else "[" + ",".join(f"'{path}'" for path in paths) + "]"


def as_options(options: dict[str, Any]) -> list[str]:
    """Turn options into words of a command line."""
    return [str(word) for key, value in options.items() for word in (f"--{key}", value)]


def start(command: Sequence[str], cwd: Path) -> subprocess.Popen[str]:
    """Start a command offline, on the CPU, with one thread and with this neuroxai."""
    nowhere = "http://127.0.0.1:9"  # the discard port: whoever asks the network fails at once
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
    }
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(processes: Sequence[subprocess.Popen[str]], timeout: float = TIMEOUT) -> list[str]:
    """Wait for all processes; return what each printed.

    Raises
    ------
    Problem
        If one fails, or does not end in time.
    """
    printed = []
    try:
        for process in processes:
            printed.append(process.communicate(timeout=timeout)[0])
    except subprocess.TimeoutExpired:
        raise Problem(f"no end after {timeout:.0f} s: {' '.join(map(str, processes[0].args))[-200:]}") from None  # type: ignore[arg-type]
    finally:
        for process in processes:
            stop(process)
    for process, text in zip(processes, printed, strict=True):
        if process.returncode:
            raise Problem(f"exit code {process.returncode}: {said(text)}")
    return printed


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a process and its children, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said(text: str) -> str:
    """Find the line of a failed command's output that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("error: ")]
    named = [line for line in lines if line.split(":")[0].rsplit(".", 1)[-1].endswith(("Error", "Exception"))]
    return (ours or named or lines or ["it printed nothing"])[-1][:300]
