"""What may be set of a training: looked at as a whole before a scan is read or a network is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroxai.checks import FLAG, Check, among, number, whole
from neuroxai.components.data import CACHES
from neuroxai.components.guidance import RULES
from neuroxai.components.loss import BALANCES
from neuroxai.components.operating_point import POINTS
from neuroxai.components.transfer import HEADS
from neuroxai.components.transforms import NORMALISATIONS
from neuroxai.errors import InputError
from neuroxai.networks import names
from neuroxai.space import mni152

KEY_METRICS = ("balanced_accuracy", "roc_auc", "val_loss")
_TRUE_OR_FALSE = {"true": True, "false": False}


def flag(value: Any) -> bool:
    """Read true or false; MONAI's command line hands ``--resume false`` on as a text, which would count as true.

    Raises
    ------
    InputError
        For anything else.
    """
    if isinstance(value, str):
        value = _TRUE_OR_FALSE.get(value.lower(), value)
    if not isinstance(value, bool):
        raise InputError(f"{value!r} is no flag, expected true or false")
    return value


def _column(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _masks(value: Any) -> bool:
    several = value if isinstance(value, list | tuple) else [value]
    return bool(several) and all(map(_column, several))


def _axes(value: Any) -> bool:
    axes = value if isinstance(value, list | tuple) else [value]
    return bool(axes) and all(type(a) is int and a in (0, 1, 2) for a in axes) and len(set(axes)) == len(axes)


def _patch(value: Any) -> bool:
    if value is None:  # what the record of a network without patches says
        return True
    sides = value if isinstance(value, list | tuple) else [value] * 3
    return len(sides) == 3 and all(type(side) is int and side >= 1 for side in sides)


def _factors(value: Any) -> bool:
    fits, _ = number(0)
    return isinstance(value, Mapping) and all(isinstance(k, str) and fits(v) for k, v in value.items())


def _weights(value: Any) -> bool:
    return value in (None, "") or (isinstance(value, str) and Path(value).expanduser().exists())


#: Of the command line, which hands "false" on as a text.
_TEXT_FLAG: Check = (lambda value: FLAG[0](value) or str(value).lower() in _TRUE_OR_FALSE, FLAG[1])

#: Options of the bundles' trainings: what a value must be, and the same in words.
CHECKS: dict[str, Check] = {
    "seed": whole(0, 2**32 - 1),
    "spacing": number(0.5, 16),
    "max_epochs": whole(1),
    "min_epochs": whole(0),
    "ignored_epochs": whole(0),
    "patience": whole(1),
    "val_interval": whole(1),
    "key_metric": among(KEY_METRICS),
    "operating_point": among(POINTS),
    "batch_size": whole(1),
    "num_workers": whole(0, 256),
    "learning_rate": number(0, 10),
    "learning_rate_decay": number(0),
    "weight_decay": number(0),
    "dropout": number(0, 1, below=True),
    "flip_probability": number(0, 1),
    "max_shift": whole(0),
    "shift_axis": (_axes, "one or more of 0, 1 and 2, such as 0 or [0,1]"),
    "patch_shape": (_patch, "a whole number of voxels, or three, such as 5 or [5,5,5]"),
    "l2": (_factors, "a mapping of layers to numbers from 0 up, such as {'conv3': 0.01}"),
    "class_balance": among(BALANCES),
    "pair_by": (_column, "auto, none, or a column of the datalist"),
    "normalisation": among(NORMALISATIONS),
    "relevance_guidance": number(0),
    "relevance_mask": (_masks, "brain, a mask's file, a column of the cohort, or a region of an atlas or several"),
    "relevance_rule": among(RULES),
    "relevance_every": whole(1),
    "cache": among(CACHES),
    "model": among(names()),
    "pretrained": (_weights, "a bundle's folder or a file of weights that is there"),
    "pretrained_head": among(HEADS),
    "resume": _TEXT_FLAG,
    "checkpointing": _TEXT_FLAG,
    "compile": _TEXT_FLAG,
    "tensorboard": _TEXT_FLAG,
    "accept_unfit": _TEXT_FLAG,
}


def check_options(values: Mapping[str, Any]) -> None:
    """Refuse a training whose options cannot be meant.

    Parameters
    ----------
    values : mapping
        Options by name, some or all of a training; those that `CHECKS` does not know are the network's own to judge.

    Raises
    ------
    InputError
        Naming the first option that does not fit, what was got and what was expected.
    """
    for name, value in values.items():
        if name in CHECKS:
            fits, words = CHECKS[name]
            if not fits(value):
                raise InputError(f"--{name} is {value!r}, expected {words}")
    if "val_interval" in values and "max_epochs" in values and values["val_interval"] > values["max_epochs"]:
        raise InputError(
            f"--val_interval is {values['val_interval']}, expected at most --max_epochs ({values['max_epochs']}): "
            "without a validation no weights are kept"
        )
    if "max_shift" in values and "spacing" in values:
        axes = values.get("shift_axis", 0)
        shape = mni152(values["spacing"]).shape
        limit = min(shape[axis] for axis in (axes if isinstance(axes, list | tuple) else [axes])) // 4
        if values["max_shift"] > limit:
            raise InputError(
                f"--max_shift is {values['max_shift']}, expected at most {limit} voxels, a quarter of the grid along "
                "the shifted axis: more moves the brain out of the picture"
            )
