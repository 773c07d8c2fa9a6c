"""Loading weights safely, and the record that stands beside them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neuroxai.errors import InputError, SpaceError
from neuroxai.io import atomic, read_object, sha256
from neuroxai.space import Space


def load_weights(network: torch.nn.Module, checkpoint: str) -> torch.nn.Module:
    """Load a plain state dict into the network, strictly and without pickle; return the network.

    Raises
    ------
    InputError
        If the file is absent or is no checkpoint.
    SpaceError
        If tensors are missing, unknown or of another shape, as for a network of another grid.
    """
    state = load_state(Path(checkpoint))
    problems = list(misfits(network.state_dict(), state).values())
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise SpaceError(
            f"{checkpoint}: does not fit the network: {problems[0]}{more}. It was trained on another grid or with "
            "other options; use the space and options of its model.json"
        )
    network.load_state_dict(state)
    return network


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Load a plain state dict, without pickle.

    Raises
    ------
    InputError
        If the file is absent or is no plain state dict.
    """
    state = load_checkpoint(path)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no plain state dict; expected the file model.pt that training writes")
    return state


def misfits(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Say of each tensor of `state` that does not fit a network's `own` what is wrong: missing, unknown, shape."""
    problems = {name: f"{name} is missing" for name in own if name not in state}
    problems |= {name: f"{name} is unknown to the network" for name in state if name not in own}
    return problems | {
        name: f"{name} has shape {tuple(state[name].shape)}, the network wants {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    }


def read_record(checkpoint: str) -> dict[str, Any]:
    """Read the record beside a checkpoint (``model.json`` beside ``model.pt``); empty where there is no record.

    Raises
    ------
    InputError
        If the record belongs to another checkpoint, or is none.
    """
    weights, path = Path(checkpoint), Path(checkpoint).with_suffix(".json")
    if not path.is_file():
        return {}
    kinds = {"space": dict, "classes": list, "settings": dict, "training_participants": list, "versions": dict}
    record = read_object(path, "record of a training", optional=kinds)
    classes = record.get("classes")
    if classes is not None and (len(classes) < 2 or not all(isinstance(name, str) for name in classes)):
        raise InputError(f"{path}: classes are {str(classes)[:200]}, expected two names or more; restore the file")
    if weights.is_file() and record.get("checkpoint_sha256") != sha256(weights):
        raise InputError(
            f"{path}: describes another checkpoint than {weights.name} (checksums differ); restore the pair, or resume "
            "the training that wrote them"
        )
    return record


def recorded_space(record: dict[str, Any], default: Space) -> Space:
    """Return the grid that a record names (`read_record`), or `default` where there is no record."""
    return Space.from_dict(record["space"]) if "space" in record else default


def load_checkpoint(path: Path) -> Any:
    """Load what training saved, tensors and plain values alone.

    Raises
    ------
    InputError
        If the file is absent, damaged, or holds anything that would need pickle.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train the bundle first, or name another with --checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make torch raise almost anything
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as weights ({first[:160]}); copy or train it again") from None


def save(path: Path, value: Any) -> None:
    """Write a checkpoint, whole or not at all, and have it on the disk before it gets its name."""
    # by way of memory: where torch writes to a full disk, its error does not say so
    content = io.BytesIO()
    torch.save(value, content)
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        handle.write(content.getbuffer())
        handle.flush()
        os.fsync(handle.fileno())


def save_weights(path: Path, network: torch.nn.Module | Mapping[str, torch.Tensor]) -> None:
    """Write a network's plain state dict.

    On the CPU and contiguous: a zoo's weights should not carry the memory format of the machine they were trained on.
    """
    state = network.state_dict() if isinstance(network, torch.nn.Module) else network
    save(path, {name: value.detach().cpu().contiguous() for name, value in state.items()})
