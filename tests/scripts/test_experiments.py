"""Experiments run on a cohort of known truth and write what they say."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from neuroxai import io
from neuroxai.space import Volume

EXPERIMENTS = Path(__file__).resolve().parents[2] / "scripts" / "experiments"


@pytest.mark.full(0)
def test_trust_of_a_trained_bundle(tiny_cohort, trained_bundle, tmp_path, terminal):
    cohort = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    blob = np.array([-30, -20, 0])  # where the phantoms' patients differ
    for path in cohort.rglob("*_T1w.nii.gz"):
        space = io.read_volume(path).space
        axes = np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij")
        inside = np.linalg.norm(space.world(np.stack(axes, axis=-1)) - blob, axis=-1) < 20
        mask = path.with_name(path.name.replace("_desc-brain_T1w", "_desc-effect_mask"))
        io.write_volume(mask, Volume(inside.astype(np.uint8), space), dtype=np.uint8)
    command = ["python", str(EXPERIMENTS / "trust.py"), str(trained_bundle), str(trained_bundle)]
    command += ["--cohort", str(cohort), "--out", str(tmp_path / "out"), "--methods", "lrp_z_plus"]
    done = terminal.run(shlex.join(command), tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line]
    assert rows == 2 * ["method", "---", "lrp_z_plus", "noise", "smooth noise", "scan", "chance"]
    table = io.read_tsv(tmp_path / "out" / "table.tsv").set_index("method")
    assert table.loc["lrp_z_plus", "roc_auc"] > table.loc["noise", "roc_auc"]
    assert table.loc["lrp_z_plus", "between_trainings"] == pytest.approx(1)  # twice the same network
    assert len(io.read_tsv(tmp_path / "out" / "values.tsv")) == 4 * 2
    assert io.read_tsv(tmp_path / "out" / "p_values.tsv")["roc_auc"].between(0, 1).all()


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
