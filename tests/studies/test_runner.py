"""Runs as processes: GPUs shared out, deaths told, nothing left behind after an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.studies import runner
from neuroxai.studies.runner import Outcome, gpus_of, run_all, start


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / f"run-{n}" for n in range(6)]
    for folder in made:
        io.write_json(folder / "run.json", {"threads": 1})
    return made


@pytest.fixture
def child(monkeypatch):
    """Put a script in the place of what a run does."""
    popen = subprocess.Popen

    def replace(script):
        def begin(command, **options):
            return popen([sys.executable, "-c", script, command[-1]], **options)

        monkeypatch.setattr(runner.subprocess, "Popen", begin)

    return replace


def test_each_gpu_is_given_to_one_run_at_a_time(folders, monkeypatch):
    lock, busy, seen = threading.Lock(), set(), []

    def work(folder, environment=None, children=None):
        cards = set(environment["CUDA_VISIBLE_DEVICES"].split(","))
        with lock:
            assert not cards & busy
            busy.update(cards)
            seen.append(frozenset(cards))
        time.sleep(0.02)
        with lock:
            busy.difference_update(cards)
        return Outcome(folder)

    monkeypatch.setattr(runner, "start", work)
    assert len(list(run_all(folders, 8, ["0", "1", "3"]))) == 6
    assert set(seen) == {frozenset("0"), frozenset("1"), frozenset("3")}
    seen.clear()
    # runs of two processes take two each; the odd one rests
    assert len(list(run_all(folders, 8, ["0", "1", "3"], processes=2))) == 6
    assert set(seen) == {frozenset("01")}
    with pytest.raises(InputError, match="a run takes 4 GPUs, there are 3"):
        list(run_all(folders, 8, ["0", "1", "3"], processes=4))


def test_no_more_runs_at_a_time_than_asked_for(folders, monkeypatch):
    lock, now, most = threading.Lock(), [0], [0]

    def work(folder, environment=None, children=None):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return Outcome(folder)

    monkeypatch.setattr(runner, "start", work)
    assert len(list(run_all(folders, 2))) == 6
    assert most[0] <= 2


def test_the_child_has_the_runs_threads_and_its_messages_go_to_the_log(folders, child):
    io.write_json(folders[0] / "run.json", {"threads": 3})
    child("import os, sys; print(os.environ['OMP_NUM_THREADS'], sys.argv[1], flush=True); sys.stderr.write('well')")
    assert start(str(folders[0])) == Outcome(folders[0])
    assert (folders[0] / "log.txt").read_text() == f"3 {folders[0]}\nwell"


def test_a_child_that_is_killed_is_told(folders, child):
    child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    outcome = start(str(folders[0]))
    assert "ended by signal 9" in outcome.error
    assert io.read_json(folders[0] / "error.json")["error"] == outcome.error


def test_a_child_that_says_why_is_quoted(folders, child):
    child(
        "import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'error.json').write_text('{\"error\": \"no\"}'); sys.exit(2)"
    )
    assert start(str(folders[0])).error == "no"


def test_an_interruption_ends_the_children(folders, child):
    child("import pathlib, sys, time; (pathlib.Path(sys.argv[1]) / 'begun').touch(); time.sleep(60)")
    outcomes = run_all(folders[:2], 2)

    def interrupt():
        while not all((folder / "begun").exists() for folder in folders[:2]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # the processes of a parallel test run ignore this signal
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(outcomes)
        outcomes.close()
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("choice", "found"), [("none", []), ("0,2", ["0", "2"]), ("1", ["1"])])
def test_gpus_by_number(choice, found):
    assert gpus_of(choice) == found


@pytest.mark.parametrize("choice", ["cuda", "0;1", "", "-1"])
def test_what_is_no_gpu_is_refused(choice):
    with pytest.raises(InputError, match="expected auto, none, or numbers"):
        gpus_of(choice)
