"""One training a folder at a time; a full disk is said as such."""

from __future__ import annotations

import errno
import fcntl
import functools
import multiprocessing
import os
import signal
import time

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import StatsHandler

from neuroxai.components.checkpoint import CheckpointHandler, _free, _take
from neuroxai.components.handlers import EarlyStopHandler
from neuroxai.errors import InputError, refused_by_the_system
from neuroxai.explain.weights import save


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path):
    taken = multiprocessing.get_context("fork").Event()  # a new interpreter would take seconds to import PyTorch

    def train():
        _take(tmp_path)
        taken.set()
        time.sleep(600)

    other = multiprocessing.get_context("fork").Process(target=train, daemon=True)
    other.start()
    assert taken.wait(60)
    with pytest.raises(InputError, match=r"another training is at work in this folder.*--ckpt_dir"):
        _take(tmp_path)
    other.kill()
    other.join()
    # the system frees what a killed process held
    lock = _take(tmp_path)
    with pytest.raises(InputError, match="another training is at work"):
        _take(tmp_path)  # of this process
    handle = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    _free(lock)
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(handle)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_workers_inherit_is_freed_with_the_training(tmp_path):
    lock = _take(tmp_path)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        _free(lock)
        _free(_take(tmp_path))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("event", [Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_COMPLETED, "step", "none"])
@pytest.mark.parametrize("error", [InputError("cut"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
@pytest.mark.parametrize("stats", ["before", "after", "without"])
def test_a_training_that_fails_frees_its_folder_and_raises(tmp_path, event, error, stats):
    def step(engine, batch):
        if event == "step":
            raise error
        return {"loss": 0.5}

    trainer, keeper = Engine(step), _keeper(tmp_path)
    log = StatsHandler(epoch_log=False, iteration_log=False)
    if stats == "before":
        log.attach(trainer)
    keeper.attach(trainer)
    if stats == "after":
        log.attach(trainer)
    if isinstance(event, Events):
        trainer.add_event_handler(event, _raiser(error))
    if event == "none":
        trainer.run([0], max_epochs=1)
    else:
        with pytest.raises(type(error)) as caught:
            trainer.run([0], max_epochs=1)
        assert caught.value is error
    _free(_take(tmp_path))


def test_a_refused_training_leaves_the_lock_to_its_holder(tmp_path):
    lock = _take(tmp_path)
    for _ in range(2):
        trainer = Engine(lambda engine, batch: {"loss": 0.5})
        _keeper(tmp_path).attach(trainer)
        with pytest.raises(InputError, match="another training is at work"):
            trainer.run([0], max_epochs=1)
    _free(lock)


def _keeper(folder):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics = {"balanced_accuracy": 0.5}
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return CheckpointHandler(
        str(folder), network, optimizer, evaluator, EarlyStopHandler(evaluator), None, None, ["a", "b"], {}
    )


def _raiser(error):
    def handler(engine):
        raise error

    return handler


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save(path, {"a": torch.ones(3)})
    before = path.read_bytes()
    full = functools.partial(open, "/dev/full", "wb")
    monkeypatch.setattr("neuroxai.explain.weights.open", lambda *_: full(), raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        save(path, {"a": torch.ones(10**5)})
    assert caught.value.errno == errno.ENOSPC
    assert "make room" in refused_by_the_system(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
