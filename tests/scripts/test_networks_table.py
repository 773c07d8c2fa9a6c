"""The table of networks and methods: what it says of a right, a refused, a wrong and a crashing method."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "experiments" / "networks_table.py"
NAMES = ("squeeze and excitation", "scan and age")


@pytest.mark.full(0)
def test_of_two_networks(tmp_path, terminal):
    command = ["python", str(SCRIPT), *NAMES, "--out", "page.md", "--kept", "kept.json"]
    done = terminal.run(shlex.join(command), tmp_path)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert set(kept) == set(NAMES)
    words = {name: {method: word for method, (word, _) in row.items()} for name, row in kept.items()}
    assert set(words["scan and age"].values()) == {"right", "not applicable"}
    assert words["squeeze and excitation"]["guided_backprop"] == "refused"
    assert not {"wrong", "crash"} & {word for row in words.values() for word in row.values()}
    page = (tmp_path / "page.md").read_text()
    assert page.rstrip() == done.stdout.rstrip()
    assert all(f"| {name} |" in page for name in NAMES)
    assert "1. layer (Sigmoid)" in page or "1. operation 'sigmoid'" in page
    # what is known is not tried again, and what is wrong stands out
    kept["scan and age"]["saliency"] = ["wrong", 0.5]
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    done = terminal.run(shlex.join(command), tmp_path)
    assert done.returncode == 1
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| scan and age |")]
    assert "WRONG" in row
