"""Workers as jobs of a queueing system: what is asked for, refused, and what becomes of a job that is killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from neuroxai import processes
from neuroxai.errors import InputError
from neuroxai.processes import cluster, queue_settings, submitted

# keeps a copy, as the real one does: the script given is gone when the job starts
SBATCH = """#!/bin/bash
echo "$1" >> "$QUEUE/jobs"
cp "$1" "$QUEUE/script.$$"
bash "$QUEUE/script.$$" >> "$QUEUE/log" 2>&1 &
echo "Submitted batch job $!"
"""


def test_an_address_says_what_a_job_is_given():
    found = queue_settings("slurm://long?jobs=16&cores=4&memory=16GB&walltime=04:00:00")
    assert found == {
        **{"system": "slurm", "queue": "long", "jobs": 16, "cores": 4},
        **{"memory": "16GB", "walltime": "04:00:00"},
    }
    assert queue_settings("pbs://") == {"system": "pbs", "jobs": 1}
    assert queue_settings("tcp://127.0.0.1:8786") is None


def test_a_yaml_file_says_the_same(tmp_path):
    file = tmp_path / "queue.yaml"
    file.write_text("system: lsf\njobs: 3\nqueue: short\njob_extra_directives: ['-P brain']\n")
    wanted = {"system": "lsf", "jobs": 3, "queue": "short", "job_extra_directives": ["-P brain"]}
    assert queue_settings(str(file)) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [("- slurm", "holds list"), ("jobs: 2", "unknown queueing system None"), ("system: slurm\njobs: none", "'none'")],
)
def test_other_files_are_refused(tmp_path, text, words):
    file = tmp_path / "queue.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        queue_settings(str(file))
    with pytest.raises(InputError, match="cannot be read"):
        queue_settings(str(tmp_path / "none.yml"))


def test_what_is_absent_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match="dask-jobqueue is not installed"), cluster("slurm://"):
        pass
    monkeypatch.undo()
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="there is no 'sbatch' here"), cluster("slurm://"):
        pass


@pytest.mark.integration
def test_a_killed_job_is_replaced_and_no_work_is_lost(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    for name, script in (("sbatch", SBATCH), ("scancel", '#!/bin/bash\nkill "$1"\n')):
        program = tmp_path / name
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path))
    # the jobs find this module as the caller does
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    with pytest.raises(InputError, match="SLURMCluster refuses it"), cluster("slurm://?colour=red"):
        pass
    dask = pytest.importorskip("dask")
    own = {"jobqueue.slurm.job-script-prologue": ["export MINE=1"]}
    with dask.config.set(own), cluster("slurm://short?jobs=1&memory=1GB&walltime=00:10:00") as client:
        found = {
            item: result for item, result, _ in submitted(client, killed_once, [(n, str(tmp_path)) for n in range(6)])
        }
        # where a worker's seconds went is not kept, and the user's own lines stand
        told = client.submit(lambda: (dask.config.get("distributed.worker.profile.enabled"), os.environ["MINE"]))
        assert told.result() == (False, "1")
    assert sorted(found.values()) == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "killed").exists()
    script = next(tmp_path.glob("script.*")).read_text()
    assert "#SBATCH -p short" in script
    assert "#SBATCH -t 00:10:00" in script
    assert len((tmp_path / "jobs").read_text().split()) == 2


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_a_cluster_is_given_a_few_items_at_a_time(monkeypatch, ahead):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(processes, "AHEAD", ahead)
    waiting, most = set(), 0
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as local,
        local.get_client() as client,
    ):
        given = client.submit

        def submit(function, item, **options):
            nonlocal most
            waiting.add(item)
            most = max(most, len(waiting))
            return given(function, item, **options)

        monkeypatch.setattr(client, "submit", submit)
        for item, result, reason in submitted(client, inverse, range(20)):
            waiting.remove(item)
            assert (result, reason) == (
                (None, "ended on the cluster (ZeroDivisionError)") if item == 0 else (1 / item, "")
            )
    assert waiting == set()
    assert most <= ahead + 1


def inverse(number):
    return 1 / number


def killed_once(item):
    """Return the number; at the third, end the job that works on it, once."""
    number, folder = item
    marker = Path(folder) / "killed"
    if number == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(1)
    return number
