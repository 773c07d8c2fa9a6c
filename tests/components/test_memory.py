"""Freed memory stays with a training on a processor, where there is enough, and else nothing changes."""

import subprocess
import sys

import pytest
import torch
from ignite.engine import Engine

from neuroxai.components import KeptMemoryHandler, memory

# page faults of each of six steps that allocate and free four blocks of 64 MiB
STEPS = """
import resource
import torch
from ignite.engine import Engine, Events
from neuroxai.components import KeptMemoryHandler

faults = []

def step(engine, batch):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(2**24) for _ in range(4)]
    del kept
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

engine, sizes = Engine(step), []
handler = KeptMemoryHandler(torch.device("cpu"))
handler.attach(engine)
engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: sizes.append(held()))
engine.run(range(6))
assert not handler.kept
print(*faults, max(sizes) - held())
"""


def faults(**environment):
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", **environment}
    ran = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, env=environment)
    return [int(word) for word in ran.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_a_step_takes_what_the_one_before_has_freed():
    before, *growing, late, last, returned = faults()
    assert max(late, last) * 20 < before
    assert sum(growing) < 2 * before
    assert returned > 3 * 2**26  # of the four blocks, once the training has ended
    # the user's own choice stands
    assert min(faults(MALLOC_TOP_PAD_="0")[:-1]) * 20 > before


class Told:
    def __init__(self, monkeypatch, free):
        self.choices = []
        monkeypatch.setattr(memory, "free_memory", lambda: free)
        monkeypatch.setattr(memory, "_chosen_by_user", lambda: False)
        monkeypatch.setattr(memory, "keep_freed", lambda keep: self.choices.append(keep) or True)


def run(device="cpu"):
    engine = Engine(lambda engine, batch: None)
    KeptMemoryHandler(torch.device(device)).attach(engine)
    engine.run(range(3), max_epochs=2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_once_after_the_first_step_and_back_at_the_end(monkeypatch):
    told = Told(monkeypatch, 2**50)
    run()
    assert told.choices == [True, False]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_given_back_once_other_processes_leave_little(monkeypatch, caplog):
    told = Told(monkeypatch, 2**50)
    left = iter([2**50, 2**50, 2**10])
    monkeypatch.setattr(memory, "free_memory", lambda: next(left))
    run()  # asks no more than three times in six steps
    assert told.choices == [True, False]
    assert "memory is short" in caplog.text


@pytest.mark.parametrize(("free", "device"), [(2**20, "cpu"), (2**50, "cuda")])
def test_nothing_changes_where_memory_is_short_or_another_s(monkeypatch, free, device):
    told = Told(monkeypatch, free)
    run(device)
    assert told.choices == []


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return memory.free_memory(root)


MEMINFO = "MemTotal: 16384 kB\nMemAvailable:    8192 kB\n"


def test_free_memory_is_that_of_the_machine_and_of_all_groups(tmp_path):
    assert memory.free_memory(tmp_path / "none") == 0
    assert tree(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/slurm/job/step\n"}) == 8192 * 1024
    top = "sys/fs/cgroup"
    none = {f"{top}/slurm/job/step/memory.max": "max\n", f"{top}/slurm/job/step/memory.current": "5\n"}
    assert tree(tmp_path, none) == 8192 * 1024
    job = {
        f"{top}/slurm/job/memory.max": "1000000\n",
        f"{top}/slurm/job/memory.current": "600000\n",
        f"{top}/slurm/job/memory.stat": "anon 500000\ninactive_file 100000\n",
    }
    assert tree(tmp_path, job) == 500_000
    above = {f"{top}/memory.max": "10\n", f"{top}/memory.current": "20\n", f"{top}/memory.stat": ""}
    assert tree(tmp_path, above) == 0


def test_the_first_version_of_control_groups(tmp_path):
    top = "sys/fs/cgroup/memory"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/docker/one\n1:cpu:/\n0::/\n",
        f"{top}/memory.limit_in_bytes": "1000000\n",  # seen from inside, the group is the top
        f"{top}/memory.usage_in_bytes": "900000\n",
        f"{top}/memory.stat": "cache 60000\ntotal_inactive_file 50000\n",
    }
    assert tree(tmp_path, files) == 150_000
