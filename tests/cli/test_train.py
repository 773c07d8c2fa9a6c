"""`neuroxai train` spells MONAI's call."""

import json
import subprocess
import sys
from importlib import util

from helpers.bundles import AD
from helpers.command import run


def test_the_call():
    said = run("train", AD, "cohort", "--dry-run", "--json", "--max_epochs", 3, "--seed=5")
    assert json.loads(said.out)["call"] == [
        *(sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", f"{AD}/configs/train.json"),
        *("--bundle_root", str(AD), "--dataset_dir", "cohort", "--max_epochs", "3", "--seed=5"),
    ]
    said = run("train", AD, "cohort", "--dry-run", "--processes", 2)
    assert "-m torch.distributed.run --standalone --nproc_per_node=2 -m monai.bundle run training" in said.out
    assert "multi_gpu_train.json" in said.out


def test_exit_code_and_refusals(monkeypatch, tmp_path):
    said = run("train", tmp_path, "cohort")
    assert said.code == 2
    assert said.err.startswith(f"error: {tmp_path}/configs/train.json: no such file")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 3))
    assert run("train", AD, "cohort").code == 3
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -9))
    assert run("train", AD, "cohort").code == 137
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    said = run("train", AD, "cohort")
    assert said.code == 2
    assert "pip install 'neuroxai[train]'" in said.err
