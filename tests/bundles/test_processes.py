"""Training in two processes, on one machine and on two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pandas as pd
import pytest
import torch

from helpers.bundles import AD
from helpers.processes import command, finish, free_port, start, stop, wait_for, workers
from neuroxai.io import read_json, write_json

pytestmark = [pytest.mark.full(2), pytest.mark.xdist_group("processes")]

TWO = ("--standalone", "--nproc_per_node=2")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, tiny_cohort):
    """The phantoms with three scans for validation: no even number for two processes."""
    folder = tmp_path_factory.mktemp("processes") / "cohort"
    shutil.copytree(tiny_cohort, folder)
    datalist = read_json(folder / "datalist.json")
    datalist["validation"] = datalist["validation"][:3]
    write_json(folder / "datalist.json", datalist)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An overlay without batch norm and dropout, which follow each process's own scans."""
    network = {
        "_target_": "neuroxai.networks.ConvNet",
        "in_shape": "$@space.shape",
        "blocks": "$[networks.Block(4, pool=2), networks.Block(8, pool=2)]",
        "num_classes": 2,
        "norm": False,
        "padding": "same",
    }
    path = tmp_path_factory.mktemp("plain") / "plain.json"
    path.write_text(json.dumps({"+imports": ["$import neuroxai.networks as networks"], "network_def": network}))
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cohort, plain):
    folder = tmp_path_factory.mktemp("alone")
    output = finish(process := start(command(AD, cohort, folder, plain, batch_size=6, max_epochs=3)))
    assert process.returncode == 0, output
    return folder


def same(one, other):
    figures, wanted = (pd.read_csv(folder / "history.tsv", sep="\t") for folder in (one, other))
    pd.testing.assert_frame_equal(figures, wanted, rtol=1e-5, atol=1e-6)
    weights, expected = (torch.load(folder / "model.pt", weights_only=True) for folder in (one, other))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one_does(tmp_path, cohort, plain, alone):
    output = finish(process := start(command(AD, cohort, tmp_path, plain, launcher=TWO, max_epochs=3)))
    assert process.returncode == 0, output
    same(tmp_path, alone)
    record = read_json(tmp_path / "model.json")
    assert record["settings"]["total_batch_size"] == 6
    assert len(list((tmp_path / "eval").glob("events.out.tfevents.*"))) == 1
    # what one process has begun, two may go on with: their batches are the same
    for name in ("last.pt", "model.pt", "model.json", "history.tsv"):
        shutil.copy(alone / name, tmp_path / name)
    output = finish(process := start(command(AD, cohort, tmp_path, plain, launcher=TWO, max_epochs=4)))
    assert process.returncode == 0, output
    assert output.count("resumed after epoch 3") == 1
    assert len(pd.read_csv(tmp_path / "history.tsv", sep="\t")) == 4


def test_two_processes_are_guided_by_relevance_as_one_is(tmp_path, cohort, plain):
    folders, guided = (tmp_path / "one", tmp_path / "two"), {"relevance_guidance": 1, "relevance_every": 1}
    for folder, size, launcher in zip(folders, (6, 3), ((), TWO), strict=True):
        options = {"batch_size": size, "max_epochs": 2, **guided}
        output = finish(process := start(command(AD, cohort, folder, plain, launcher=launcher, **options)))
        assert process.returncode == 0, output
    assert (pd.read_csv(folders[0] / "history.tsv", sep="\t")["relevance_outside"] > 0).all()
    same(*folders)


def two_machines(*arguments, **options):
    """Start two agents that meet at a port of this machine, as on two nodes."""
    port = free_port()
    launcher = ("--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=localhost:{port}")
    return [start(command(*arguments, launcher=(*launcher, "--rdzv_id=test"), **options)) for _ in range(2)]


def test_two_machines_train_as_one_process_does(tmp_path, cohort, plain, alone):
    agents = two_machines(AD, cohort, tmp_path, plain, max_epochs=3)
    outputs = [finish(agent) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    same(tmp_path, alone)


def test_early_stopping_ends_all_processes(tmp_path, cohort):
    # a rate of nought: the loss cannot improve but by batch norm's running statistics
    options = {"learning_rate": 0, "weight_decay": 0, "patience": 2, "min_epochs": 3, "max_epochs": 50}
    output = finish(process := start(command(AD, cohort, tmp_path, launcher=TWO, **options)))
    assert process.returncode == 0, output
    assert output.count("stopped early after epoch") == 1
    assert 3 <= len(pd.read_csv(tmp_path / "history.tsv", sep="\t")) < 50


@pytest.mark.parametrize("machines", [1, 2])
def test_a_killed_process_ends_the_other_and_a_restart_goes_on(tmp_path, cohort, machines):
    if machines == 1:
        agents = [start(command(AD, cohort, tmp_path, launcher=TWO, max_epochs=500, min_epochs=500))]
    else:
        agents = two_machines(AD, cohort, tmp_path, max_epochs=500, min_epochs=500)
    try:
        wait_for((tmp_path / "last.pt").exists)
        found = {rank: pid for agent in agents for rank, pid in workers(agent).items()}
        assert sorted(found) == [0, 1]
        os.kill(found[1], signal.SIGKILL)
        killed = time.monotonic()
        outputs = [agent.communicate(timeout=60)[0] for agent in agents]
    finally:
        for agent in agents:
            stop(agent)
    assert time.monotonic() - killed < 60
    assert all(agent.returncode for agent in agents)
    assert any("run the same command again to go on" in output for output in outputs), outputs
    epochs = torch.load(tmp_path / "last.pt", weights_only=True)["epoch"]
    output = finish(
        process := start(command(AD, cohort, tmp_path, launcher=TWO, max_epochs=epochs + 1, min_epochs=500))
    )
    assert process.returncode == 0, output
    assert f"resumed after epoch {epochs}" in output
    assert len(pd.read_csv(tmp_path / "history.tsv", sep="\t")) == epochs + 1


def test_folders_that_differ_between_machines_are_refused(tmp_path, cohort, plain, alone):
    own = tmp_path / "own"
    shutil.copytree(alone, f"{own}0")
    options = {"ckpt_dir": f"$'{own}' + str(components.process_number())", "max_epochs": 4}
    output = finish(process := start(command(AD, cohort, tmp_path, plain, launcher=TWO, **options)))
    assert process.returncode != 0
    assert "on a folder that all machines share" in output
