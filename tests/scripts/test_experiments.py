"""Experiments run on a cohort of known truth and write what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "scripts" / "experiments"


@pytest.mark.full(0)
def test_relevance_beside_others_is_conserved(capsys):
    import runpy

    runpy.run_path(str(EXPERIMENTS / "beside_others.py"), run_name="__main__")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["network", "neuroxai", "captum"]
    table = {row[0]: row for row in rows[2:]}
    # biases, which batch normalisation has, take the rest
    assert float(table["DenseNet121"][1]) == pytest.approx(1, abs=0.1)
    assert float(table["ResNet18"][1]) == pytest.approx(1, abs=0.1)
    assert "Conv3d" in table["DenseNet121"][2]
