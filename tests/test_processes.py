"""Worker processes: bounded, and gone with who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from neuroxai.cohort import SplitOptions
from neuroxai.errors import InputError
from neuroxai.processes import Bound, check_jobs, settled_jobs
from neuroxai.studies import RunOptions

CORES = os.cpu_count()
MOST = max(64, 8 * CORES)


def test_never_more_processes_than_items():
    assert [settled_jobs(jobs, 2) for jobs in (1, 2, 3, 50)] == [1, 2, 2, 2]
    assert settled_jobs(-1, 1000) == CORES
    assert settled_jobs(4, 0) == 1


@pytest.mark.parametrize("jobs", [0, -2, MOST + 1, 10**9])
def test_numbers_without_bounds_are_refused_with_the_limit(jobs):
    for refused in (check_jobs, lambda n: settled_jobs(n, 2), lambda n: RunOptions(jobs=n)):
        with pytest.raises(InputError, match=f"jobs is {jobs}, expected 1 to {MOST}"):
            refused(jobs)
    check_jobs(MOST)


@pytest.mark.parametrize("options", [{"folds": 10**9}, {"repeats": 10**9}, {"age_bins": 10**9}, {"folds": 1001}])
def test_splits_without_bounds_are_refused_with_the_limit(options):
    with pytest.raises(InputError, match="to 1000"):
        SplitOptions(**options)


def test_a_bound_function_is_called_as_it_is():
    assert Bound(divmod)(7, 2) == (3, 1)


def test_workers_of_a_killed_process_end(tmp_path):
    code = (
        "import os, sys, time\nfrom joblib import Parallel, delayed\nfrom neuroxai.processes import Bound\n"
        "def work(folder):\n    open(f'{folder}/{os.getpid()}', 'w').close(); time.sleep(120)\n"
        "Parallel(n_jobs=2)(delayed(Bound(work))(sys.argv[1]) for _ in range(2))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 60
        while len(os.listdir(tmp_path)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    workers = [int(name) for name in os.listdir(tmp_path)]
    deadline = time.monotonic() + 30
    while any(_lives(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_whose_maker_was_killed_before_its_first_task_ends(tmp_path):
    """It has another parent by then, one that stays."""
    code = (
        "import os, sys, time\nfrom neuroxai.processes import Bound\nwork = Bound(time.sleep)\n"
        "if os.fork() == 0:\n    while os.getppid() == work.maker: time.sleep(.01)\n"
        "    open(sys.argv[1], 'w').write(str(os.getpid())); work(120)\nos._exit(0)\n"
    )
    record = tmp_path / "worker"
    subprocess.run([sys.executable, "-c", code, str(record)], check=True)
    deadline = time.monotonic() + 30
    while not record.is_file() or not record.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while _lives(int(record.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _lives(process):
    try:
        with open(f"/proc/{process}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
