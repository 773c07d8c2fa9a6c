"""The check of federated training: MONAI's client, two sites, averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from neuroxai.bundles.checks.phantoms import half_of
from neuroxai.bundles.checks.properties import quiet, same
from neuroxai.bundles.checks.trial import Problem, Trial

ROUNDS = 2


def federated(trial: Trial) -> None:
    """Check that two clients with disjoint scans train two rounds from averaged weights, and end with the same ones."""
    with quiet():
        clients = [_client(trial, which) for which in (0, 1)]
        names = [{item["participant_id"] for item in client.train_workflow.train_dataset_data} for client in clients]
        if names[0] & names[1]:
            raise Problem(f"{min(names[0] & names[1])} is at both sites")
        weights = _copy(clients[0].trainer.network.state_dict())
        first = weights
        for _ in range(ROUNDS):
            weights = _average([_round(client, weights) for client in clients])
        for client in clients:
            client.evaluate(_exchange(weights))
            if not _equal(client.evaluator.network.state_dict(), weights):
                raise Problem(f"{client.client_name} does not end with the averaged weights")
            client.finalize()
    if any(same(first[name], value) for name, value in weights.items() if name.endswith("weight")):
        raise Problem("weights are the same after two rounds")


def _client(trial: Trial, which: int) -> Any:
    from monai.fl.client import MonaiAlgo
    from monai.fl.utils.constants import ExtraItems

    name = f"site{which}"
    bundle = trial.copy(name)
    datalist = half_of(trial.cohort, which, trial.folder / f"{name}.json")
    options = {**trial.training_options, "bundle_root": str(bundle), "datalist": str(datalist)}
    options["dataset_dir"] = str(trial.cohort)
    client = MonaiAlgo(
        bundle_root=str(bundle),
        local_epochs=1,
        send_weight_diff=False,
        # each round hands weights in: what a former round left in last.pt must not replace them
        train_kwargs={**options, "resume": False},
        # the training's own validation: evaluate.json opens a checkpoint, which a site does not have yet
        config_evaluate_filename="configs/train.json",
        eval_kwargs=dict(options),
    )
    client.initialize({ExtraItems.CLIENT_NAME: name})
    return client


def _round(client: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from ignite.engine import Events

    seen: list[bool] = []
    # added last, so after whatever the bundle's own handlers do when a training starts
    handler = client.trainer.add_event_handler(
        Events.STARTED, lambda engine: seen.append(_equal(engine.network.state_dict(), weights))
    )
    client.train(_exchange(weights))
    handler.remove()
    if seen != [True]:
        raise Problem(f"{client.client_name} does not start from the weights that a round hands in")
    trained = _copy(client.get_weights().weights)
    if _equal(trained, weights):
        raise Problem(f"{client.client_name} returns the weights it got")
    history = Path(client.bundle_root) / "models" / "history.tsv"
    if not history.is_file() or pd.read_csv(history, sep="\t")["epoch"].iloc[-1] != client.trainer.state.epoch:
        raise Problem(f"{client.client_name} keeps no history of its rounds")
    return trained


def _exchange(weights: Mapping[str, torch.Tensor]) -> Any:
    from monai.fl.utils.exchange_object import ExchangeObject

    return ExchangeObject(weights=_copy(weights))


def _average(several: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([one[name].double() for one in several]).mean(0).to(value.dtype)
        for name, value in several[0].items()
    }


def _copy(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def _equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
