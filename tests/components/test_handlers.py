from __future__ import annotations

import pytest
from ignite.engine import Engine, Events

from neuroxai.components import EarlyStopHandler


def last_epoch(losses, **options):
    """Go through a list of validation losses; returns the epoch in which the training ended."""
    evaluator, trainer = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    EarlyStopHandler(evaluator, **options).attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.run([0])

    @evaluator.on(Events.EPOCH_COMPLETED)
    def judge(engine):
        engine.state.metrics["val_loss"] = losses[trainer.state.epoch - 1]

    trainer.run([0], max_epochs=len(losses))
    return trainer.state.epoch


@pytest.mark.parametrize(("ignored", "end"), [(0, 4), (1, 7), (3, 7), (4, 11)])
def test_ignored_epochs_are_not_waited_on(ignored, end):
    """A stroke of luck in epoch 1, then 6 in epoch 4 as the best but luck, and 6.5 from epoch 8 on; patience 3."""
    losses = [0.1, 9.0, 8.0, 6.0, 7.0, 7.0, 7.0, *[6.5] * 5]
    assert last_epoch(losses, patience=3, min_epochs=1, ignored_epochs=ignored) == end
