"""Hyper-parameters by Optuna: drawn by seed, so that a resumed study draws what an uninterrupted one would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai.errors import InputError, one_of
from neuroxai.studies.spec import Search, Values


def check_search(search: Search, space: Mapping[str, Any], where: str) -> None:
    """Refuse a search space that cannot be drawn from.

    Raises
    ------
    InputError
        Naming the key.
    """
    if len(search.first) > search.draws:
        raise InputError(f"{where}: {len(search.first)} first values for {search.draws} draws; give more draws")
    if search.draws and not space:
        raise InputError(f"{where}: draws is {search.draws}, but the space is empty; name hyper-parameters")
    for name, values in space.items():
        if isinstance(values, Mapping) and "low" in values:
            if set(values) - {"low", "high", "log"} or not _numbers(values):
                raise InputError(
                    f"{where}: {name} is {dict(values)}, expected numbers low < high, and log: true or not"
                )
        elif isinstance(values, Mapping):
            if not values or not all(isinstance(settings, Mapping) for settings in values.values()):
                raise InputError(f"{where}: {name} is {dict(values)}, expected names, each with its settings")
        elif not isinstance(values, list) or not values:
            raise InputError(f"{where}: {name} is {values!r}, expected a list of values, or low and high")
    for first in search.first:
        for name, value in first.items():
            if name not in space:
                raise one_of(f"hyper-parameter in {where}: first", name, space)
            choices = space[name]
            if isinstance(choices, list | Mapping) and "low" not in choices and value not in choices:
                raise one_of(f"value of {name} in {where}: first", value, choices)


def _numbers(values: Mapping[str, Any]) -> bool:
    low, high = values.get("low"), values.get("high")
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in (low, high))
    return bool(numbers and low < high and (not values.get("log") or low > 0))  # type: ignore[operator]


def draw(search: Search, space: Mapping[str, Any], stream: int, scores: Sequence[float | None], store: Path) -> Values:
    """Return the values of the next draw.

    Parameters
    ----------
    search : Search
        Sampler, first values, seed.
    space : mapping
        The arm's hyper-parameters.
    stream : int
        Which search this is (arm and split): each has its own random stream.
    scores : sequence of float or None
        What the draws before this one came to (greater is better), None for one that failed; a random sampler
        does not look at them.
    store : pathlib.Path
        Journal file of the search, made if absent; draws that stand in it are not made again.
    """
    import optuna

    number = len(scores)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store.parent.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(store)))
    seed = (search.seed * 1_000_003 + stream * 9_176 + number) % 2**32
    random = search.sampler == "random"
    sampler = optuna.samplers.RandomSampler(seed=seed) if random else optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(
        storage=journal, sampler=sampler, direction="maximize", study_name="search", load_if_exists=True
    )
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get("draw") == number and trial.params.keys() == set(space):
            return dict(trial.params)
    if not random:
        _enter(study, scores)
    if number < len(search.first):
        study.enqueue_trial(dict(search.first[number]))
    trial = study.ask()
    for name, values in space.items():
        if isinstance(values, Mapping) and "low" in values:
            suggest = (
                trial.suggest_int if all(isinstance(values[k], int) for k in ("low", "high")) else trial.suggest_float
            )
            suggest(name, values["low"], values["high"], log=bool(values.get("log", False)))
        else:
            trial.suggest_categorical(name, list(values))
    # last: a draw that was cut short is drawn again, from the same seed
    trial.set_user_attr("draw", number)
    return dict(trial.params)


def _enter(study: Any, scores: Sequence[float | None]) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False):
        number = trial.user_attrs.get("draw")
        if trial.state == TrialState.RUNNING and number is not None and number < len(scores):
            value = scores[number]
            study.tell(trial.number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)


def settings_of(space: Mapping[str, Any], values: Mapping[str, Any]) -> Values:
    """Turn drawn values into a bundle's settings: a name stands for the settings that it was given.

    Examples
    --------
    >>> space = {"architecture": {"A": {"model": "model_a"}}, "batch_size": [4, 6]}
    >>> settings_of(space, {"architecture": "A", "batch_size": 6})
    {'model': 'model_a', 'batch_size': 6}
    """
    found: Values = {}
    for name, value in values.items():
        choices = space[name]
        if isinstance(choices, Mapping) and "low" not in choices:
            found.update(choices[value])
        else:
            found[name] = value
    return found
