"""Checkpoints: the best weights with their record, and the last state to resume from."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pandas as pd
import torch
from ignite.engine import Engine, Events

from neuroxai._version import __version__
from neuroxai.cohort.seen import seen_record
from neuroxai.components.data import ScanDataset
from neuroxai.components.distributed import mean_over_processes, process_count, process_number
from neuroxai.components.handlers import EarlyStopHandler
from neuroxai.components.metrics import EpochMetric
from neuroxai.components.operating_point import at_operating_point
from neuroxai.components.training_scans import look_at
from neuroxai.errors import InputError
from neuroxai.explain.sharding import is_main_process
from neuroxai.explain.weights import load_checkpoint, save, save_weights
from neuroxai.io import read_tsv, sha256, write_json, write_tsv
from neuroxai.space import Space

_log = logging.getLogger("neuroxai")


class CheckpointHandler:
    """Keep the best weights and the last state of a training run; resume from the latter.

    Written to `folder`, each file whole or not at all:

    - ``model.pt``: the network's plain state dict at the best validation (ties: later, as in Boehle 2019's code);
    - ``model.json``: the record that prediction needs (space, classes, checksum, settings, the scans seen, and what the
      training scans look like, so that a scan that does not fit is noticed);
    - ``last.pt``: everything a resumed run needs, after each epoch;
    - ``history.tsv``: the figures of each epoch;
    - ``times.tsv``: seconds and training steps of each epoch, apart, since they differ from run to run.

    Attach it to the trainer after the validation and early-stopping handlers. In a distributed training the first
    process writes, and all resume from the same file: the folder must be one that all machines share. The state is
    taken up once, when the trainer first runs, so that weights handed in later (federated rounds) stay.

    Parameters
    ----------
    folder : str
        Where to write.
    network : torch.nn.Module
        The network in training.
    optimizer : torch.optim.Optimizer
        Its optimiser.
    evaluator : ignite.engine.Engine
        The validation engine.
    early_stop : EarlyStopHandler
        Its counter is kept across a restart.
    dataset : ScanDataset
        The training scans.
    space : Space
        The network's grid.
    classes : sequence of str
        Class names in the order of labels.
    settings : dict
        Plain values that define the run. A last state of other settings is refused.
    key_metric : str
        Validation figure that chooses the weights: the smallest "val_loss", else the largest; "roc_auc" asks for order.
    resume : bool
        Go on from ``last.pt`` where there is one; False begins anew.
    validated : EpochMetric, optional
        Holds the validation's logits, on which the operating point is chosen (`at_operating_point`); none: it stays at
        one half.
    accept_unfit : bool
        Train even if most scans are no brains in MNI152 space.

    Raises
    ------
    InputError
        If `folder` holds a run of other settings, another process trains in it, or most training scans are no brains.
    """

    def __init__(
        self,
        folder: str,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        evaluator: Engine,
        early_stop: EarlyStopHandler,
        dataset: ScanDataset,
        space: Space,
        classes: list[str],
        settings: dict[str, Any],
        key_metric: str = "balanced_accuracy",
        resume: bool = True,
        validated: EpochMetric | None = None,
        accept_unfit: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.early_stop = early_stop
        self.dataset = dataset
        self.space = space
        self.classes = list(classes)
        self.settings = json.loads(json.dumps(settings))
        self.key_metric = key_metric
        self._sign = -1 if key_metric == "val_loss" else 1
        self.resume = resume
        self.validated = validated
        self.best, self.best_epoch = -math.inf, 0
        self.history: list[dict[str, float]] = []
        self.times: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._seen: dict[str, Any] = {}
        self._begun = False
        self._clock = 0.0
        self._looks: dict[str, Any] = {}
        self._point: dict[str, Any] | None = None
        self.accept_unfit = accept_unfit
        self._lock: int | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._note_time)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note_loss)
        self.evaluator.add_event_handler(Events.COMPLETED, self._keep_best, engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._keep_last)
        engine.add_event_handler(Events.COMPLETED, self._end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)
        # first, since the engine calls no further one after one that raises, and MONAI's StatsHandler raises too
        engine._event_handlers[Events.EXCEPTION_RAISED].insert(0, engine._event_handlers[Events.EXCEPTION_RAISED].pop())

    def _start(self, trainer: Engine) -> None:
        if is_main_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._lock is None:
                self._lock = _take(self.folder)
        if self._begun:
            return
        self._begun = True
        if is_main_process():
            for leftover in self.folder.glob(".*.tmp.*"):
                leftover.unlink()  # of a run that was killed while writing
            judged = getattr(getattr(self.evaluator, "data_loader", None), "dataset", None)
            self._looks = look_at(self.dataset, judged, self.space, self.accept_unfit)
        last = self.folder / "last.pt"
        if not self._agreed(last):
            return
        if not self.resume:
            _log.warning("%s is replaced, because resume is off", last)
            return
        state = load_checkpoint(last)
        different = [
            f"{key} was {state['settings'].get(key)!r}, is {self.settings.get(key)!r}"
            for key in sorted({*state["settings"], *self.settings})
            if state["settings"].get(key) != self.settings.get(key)
        ]
        if different:
            raise InputError(
                f"{self.folder} holds a training run of other settings ({'; '.join(different)}); choose another "
                "--ckpt_dir, or begin anew with --resume false"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.early_stop.load_state_dict(state["early_stop"])
        if _scaler(trainer) is not None and state["scaler"]:
            _scaler(trainer).load_state_dict(state["scaler"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.history = state["history"]
        self.times = _times_before(self.folder / "times.tsv", state["epoch"])
        trainer.state.epoch, trainer.state.iteration = state["epoch"], state["iteration"]
        if self.early_stop.stopped or trainer.state.epoch >= (trainer.state.max_epochs or 0):
            _log.info("this run ended after epoch %d; nothing is left to train", state["epoch"])
            trainer.state.max_epochs = trainer.state.epoch
            trainer.terminate()
        else:
            _log.info("resumed after epoch %d from %s", state["epoch"], last)

    def _agreed(self, last: Path) -> bool:
        """Whether there is a last state; all processes must see the same one."""
        own = sha256(last) if last.is_file() else "no file"
        if process_count() == 1:
            return last.is_file()
        common = str(idist.broadcast(own, src=0, safe_mode=True))
        if own != common:
            raise InputError(
                f"{last}: process {process_number()} sees {own[:12]}, the first process {common[:12]}; put --ckpt_dir "
                "on a folder that all machines share"
            )
        return common != "no file"

    def _note_time(self, trainer: Engine) -> None:
        self._clock = time.perf_counter()

    def _note_loss(self, trainer: Engine) -> None:
        output = trainer.state.output
        item = output[0] if isinstance(output, list) else output
        self._losses.append(float(torch.as_tensor(item["loss"]).detach()))

    def _keep_best(self, evaluator: Engine, trainer: Engine) -> None:
        value = self._sign * float(evaluator.state.metrics[self.key_metric])
        if not value >= self.best:  # also not for NaN
            return
        if not all(torch.isfinite(t).all() for t in self.network.state_dict().values() if t.is_floating_point()):
            return  # their decisions are all of one class, which may look better than none
        self.best, self.best_epoch = value, trainer.state.epoch
        state, point = dict(self.network.state_dict()), None
        if self.validated is not None:
            logits, labels = self.validated.gathered()
            state, point = at_operating_point(self.network, logits, labels, evaluator.state.batch["image"][:1])
        if not is_main_process():
            return
        self._point = point
        weights = self.folder / "model.pt"
        save_weights(weights, state)
        write_json(
            self.folder / "model.json",
            {
                "checkpoint_sha256": sha256(weights),
                "space": self.space.to_dict(),
                "classes": self.classes,
                "epoch": self.best_epoch,
                "validation": {k: _plain(v) for k, v in evaluator.state.metrics.items()},
                **({} if point is None else {"operating_point": point}),
                "settings": self.settings,
                **self._seen_scans(evaluator),
                **self._looks,
                "left_out": [failure.__dict__ for failure in self.dataset.failures],
                "versions": {"neuroxai": __version__, "torch": torch.__version__},
            },
        )

    def _seen_scans(self, evaluator: Engine) -> dict[str, Any]:
        """Note the scans once: reading them again at each better epoch would cost more than it tells."""
        loader = evaluator.state.dataloader
        if not self._seen:
            judged = getattr(getattr(loader, "dataset", None), "data", ())
            self._seen = seen_record({"training": self.dataset.data, "validation": judged})
        return self._seen

    def _keep_last(self, trainer: Engine) -> None:
        loss = mean_over_processes(sum(self._losses), len(self._losses))
        figures = {"epoch": trainer.state.epoch, "train_loss": loss}
        figures.update({k: float(v) for k, v in trainer.state.metrics.items() if k == "relevance_outside"})
        figures.update({k: float(v) for k, v in self.evaluator.state.metrics.items()})
        self._losses = []
        if not math.isfinite(loss):
            raise InputError(
                f"training diverged in epoch {trainer.state.epoch}: the loss is {loss}, expected a finite number; "
                f"lower --learning_rate; {self._kept()}"
            )
        self.history.append(figures)
        spent = time.perf_counter() - self._clock
        self.times.append({"epoch": trainer.state.epoch, "steps": trainer.state.iteration, "seconds": round(spent, 3)})
        if not is_main_process():
            return
        write_tsv(self.folder / "times.tsv", pd.DataFrame(self.times))
        write_tsv(self.folder / "history.tsv", pd.DataFrame(self.history))
        save(
            self.folder / "last.pt",
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "early_stop": self.early_stop.state_dict(),
                "scaler": _scaler(trainer).state_dict() if _scaler(trainer) is not None else None,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "history": self.history,
                "epoch": trainer.state.epoch,
                "iteration": trainer.state.iteration,
                "settings": self.settings,
            },
        )
        _log.info("  ".join(f"{k} {v:.4g}" for k, v in figures.items()))

    def _end(self, trainer: Engine) -> None:
        self._leave()
        _log.info("%s", self._kept())

    def _fail(self, trainer: Engine, error: BaseException) -> None:
        """Free the folder: the process of a notebook lives on after a training that failed."""
        self._leave()
        raise error

    def _leave(self) -> None:
        if self._lock is not None:
            _free(self._lock)
        self._lock = None

    def _kept(self) -> str:
        if self.best_epoch == 0:
            return f"no weights are kept: no epoch had a {self.key_metric}"
        best = self._sign * self.best
        kept = f"best {self.key_metric} {best:.4g} at epoch {self.best_epoch}: {self.folder / 'model.pt'}"
        point = self._point or {"moved": None}
        if point["moved"]:
            return f"{kept}; its operating point was chosen on {point['scans']} validation scans"
        return kept if self._point is None else f"{kept}; the operating point stays at one half: {point['reason']}"


def _take(folder: Path) -> int:
    """Lock a folder until `_free`, or say that another training is at work in it; nothing where locks are unknown."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(
            f"{folder}: another training is at work in this folder; wait for its end, or choose another --ckpt_dir"
        ) from None
    except OSError:
        _log.warning("%s: its file system knows no locks; start no other training in this folder", folder)
    return handle


def _free(handle: int) -> None:
    """Unlock: closing alone would leave the lock to the processes that read scans, which inherit the handle."""
    import fcntl

    with contextlib.suppress(OSError):  # no locks on this file system
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _scaler(trainer: Engine) -> Any:
    """Return what scales the loss in mixed precision, if anything does."""
    return getattr(trainer, "scaler", None)


def _times_before(path: Path, epoch: int) -> list[dict[str, float]]:
    """Return the times of the epochs that a resumed run need not repeat; none where they were not kept."""
    if not path.is_file():
        return []
    rows: list[dict[str, float]] = read_tsv(path, numbers=("epoch",)).to_dict("records")  # type: ignore[assignment]
    return [row for row in rows if row["epoch"] <= epoch]


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
