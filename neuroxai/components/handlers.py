"""Handlers of the training engine: early stopping, and randomness that survives a restart."""

from __future__ import annotations

import logging
import math
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from neuroxai.errors import InputError

_log = logging.getLogger("neuroxai")


class EarlyStopHandler:
    """Stop training when a validation figure has not improved for a number of epochs.

    Attached to the trainer; it listens to the validation engine, so that configurations need no circle of references.

    Parameters
    ----------
    evaluator : ignite.engine.Engine
        The validation engine.
    patience : int
        Validations without improvement that end the training (8 in Boehle 2019).
    metric : str
        Name of the figure; smaller is better.
    min_epochs : int
        No stop before this epoch (15 in the code of Boehle 2019).
    ignored_epochs : int
        First epochs that are not judged at all, so that a good figure of chance among them is not waited on (5 in Eitel
        2021).
    """

    def __init__(
        self,
        evaluator: Engine,
        patience: int = 8,
        metric: str = "val_loss",
        min_epochs: int = 15,
        ignored_epochs: int = 0,
    ) -> None:
        if patience < 1:
            raise InputError(f"early stopping: patience is {patience}, expected 1 or more")
        self.evaluator = evaluator
        self.patience = patience
        self.metric = metric
        self.min_epochs = min_epochs
        self.ignored_epochs = ignored_epochs
        self.best = math.inf
        self.waited = 0
        self.stopped = False

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        self.evaluator.add_event_handler(Events.COMPLETED, self._judge, engine)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"best": self.best, "waited": self.waited, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a former run's state."""
        self.best, self.waited, self.stopped = float(state["best"]), int(state["waited"]), bool(state["stopped"])

    def _judge(self, evaluator: Engine, trainer: Engine) -> None:
        if trainer.state.epoch <= self.ignored_epochs:
            return
        value = float(evaluator.state.metrics[self.metric])
        if value < self.best:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited >= self.patience and trainer.state.epoch >= self.min_epochs:
            self.stopped = True
            _log.info(
                "stopped early after epoch %d: %s has not improved for %d validations",
                trainer.state.epoch,
                self.metric,
                self.waited,
            )
            trainer.terminate()


class SeedHandler:
    """Seed every training step from (seed, iteration), so that a resumed run draws what an uninterrupted one would.

    For what is random in the network, dropout above all; each process of a distributed training draws its own.
    Augmentation is seeded by `ScanSampler`.

    Parameters
    ----------
    seed : int
        The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._before_step)

    def _before_step(self, engine: Engine) -> None:
        # a multiplier keeps neighbouring seeds' streams apart
        torch.manual_seed((self.seed * 1_000_003 + engine.state.iteration + idist.get_rank() * 7_919_000_017) % 2**63)
