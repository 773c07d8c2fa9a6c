"""A training process that is killed goes on from its last checkpoint, with nothing half-written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from helpers.bundles import AD, copy_of

EPOCHS = 12


def command(bundle, cohort):
    options = {
        "config_file": bundle / "configs" / "train.json",
        "bundle_root": bundle,
        "dataset_dir": cohort,
        "spacing": 5,
        "max_epochs": EPOCHS,
        "batch_size": 3,
    }
    arguments = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    return [sys.executable, "-m", "monai.bundle", "run", "training", *arguments]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.full(2)
def test_killed_training_resumes_to_the_same_weights(tmp_path, tiny_cohort):
    whole = copy_of(AD, tmp_path / "whole")
    subprocess.run(command(whole, tiny_cohort), env=environment(), check=True, capture_output=True)

    killed = copy_of(AD, tmp_path / "killed")
    delays = random.Random(tmp_path.name)
    for _ in range(2):
        process = subprocess.Popen(
            command(killed, tiny_cohort), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        last = killed / "models" / "last.pt"
        before = last.stat().st_mtime_ns if last.exists() else 0
        deadline = time.monotonic() + 120
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert process.poll() is None, "the training ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(delays.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        # whatever stands under its final name can be read
        for name in ("last.pt", "model.pt"):
            if (killed / "models" / name).exists():
                torch.load(killed / "models" / name, weights_only=True)

    result = subprocess.run(command(killed, tiny_cohort), env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "resumed after epoch" in result.stderr + result.stdout
    first, second = (
        torch.load(bundle / "models" / "last.pt", weights_only=True)["network"] for bundle in (whole, killed)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (whole / "models" / "model.pt").read_bytes() == (killed / "models" / "model.pt").read_bytes()
    assert (whole / "models" / "history.tsv").read_bytes() == (killed / "models" / "history.tsv").read_bytes()


def test_bad_input_to_training_is_one_line_and_exit_code_two(tmp_path, tiny_cohort):
    bundle = copy_of(AD, tmp_path / "bundle")
    result = subprocess.run(command(bundle, tmp_path / "absent"), env=environment(), capture_output=True, text=True)
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "absent" in last
    assert "Traceback" not in result.stderr
    assert not (bundle / "models").exists() or not list((bundle / "models").iterdir())
