"""Transfer learning: begin a training with the weights of another one."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from neuroxai.cohort.datalist import parts_of, subject_of
from neuroxai.errors import InputError, LeakageError, SpaceError, one_of
from neuroxai.explain.weights import load_state, misfits, read_record
from neuroxai.io import read_object, sha256
from neuroxai.io.names import prefixed

HEADS = ("pretrained", "fresh")

_log = logging.getLogger("neuroxai")


def load_pretrained(
    network: torch.nn.Module, path: str | None, *, head: str = "pretrained", datalist: str | None = None
) -> torch.nn.Module:
    """Put the weights of a former training into the network, all layers of them, and return the network.

    All layers go on learning (Eitel 2019). Call it before the training starts: a run that is resumed takes its own last
    state, which comes after.

    Parameters
    ----------
    network : torch.nn.Module
        The network to train; left as it is where there is no path.
    path : str or None
        A bundle's folder (its ``models/model.pt``) or a state dict's file; None or "" for a training from scratch.
    head : {"pretrained", "fresh"}
        "fresh" leaves the last layer at its initialisation, for another number of classes or another grid.
    datalist : str, optional
        Datalist of the training that begins; see `check_participants`.

    Raises
    ------
    InputError
        If there are no weights at `path`, or `head` is unknown.
    SpaceError
        If tensors are missing, unknown or of another shape.
    LeakageError
        If the former training saw subjects that are now to be validated or tested on.
    """
    if head not in HEADS:
        raise one_of("pretrained head", head, HEADS)
    if not path:
        return network
    weights = weights_file(path)
    state, own = load_state(weights), network.state_dict()
    fresh = _last_layer(network)
    problems = misfits(own, state)
    kept = {name for name in own if name.rpartition(".")[0] == fresh} if head == "fresh" else set()
    bad = [text for name, text in problems.items() if name not in kept]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        way_out = "give the options of its training (--spacing, grid and network; see its model.json)"
        if all(name.rpartition(".")[0] == fresh for name in problems):
            way_out += f", or begin with a fresh last layer, {fresh} (--pretrained_head fresh)"
        raise SpaceError(f"{weights}: does not fit the network: {bad[0]}{more}; {way_out}")
    if datalist is not None:
        check_participants(weights, datalist)
    network.load_state_dict({name: own[name] if name in kept else state[name] for name in own})
    said = f"; {fresh} begins fresh" if kept else ""
    _log.info("begins with the %d tensors of %s%s", len(own) - len(kept), weights, said)
    return network


def pretrained_sha256(path: str | None) -> str | None:
    """Return the checksum of the weights that `load_pretrained` loads, for a run's settings; None from scratch."""
    return sha256(weights_file(path)) if path else None


def weights_file(path: str) -> Path:
    """Return the file of weights that a bundle's folder or a file's path stands for.

    Raises
    ------
    InputError
        If it is not there.
    """
    given = Path(path)
    weights = given / "models" / "model.pt" if given.is_dir() else given
    if not weights.is_file():
        raise InputError(
            f"{weights}: no such weights; pre-train first, or name a trained bundle's folder or a .pt file with "
            "--pretrained"
        )
    return weights


def check_participants(weights: Path, datalist: str) -> None:
    """Refuse a pre-training on subjects of the new training's validation or test part.

    Names alone prove nothing, since sub-01 stands in most cohorts. Two subjects count as one where their names agree
    and their cohorts do: their datalists were split from the same participants.tsv, by its checksum. So another split,
    another sequence or another session of one cohort is seen. Where a checksum is wanting, equal names are a warning.

    Not seen are a person with another name, a cohort whose participants.tsv was changed between the splits, subjects
    that the pre-training only validated on, and those of a pre-training before the pre-training.

    Parameters
    ----------
    weights : pathlib.Path
        The pre-trained weights; their record ``model.json`` stands beside them.
    datalist : str
        Datalist of the new training.

    Raises
    ------
    LeakageError
        If there is such a subject; the message names the first.
    """
    record = read_record(str(weights))
    if not record:
        _log.warning("%s has no record beside it: nobody can tell which subjects it was trained on", weights)
        return
    seen = {prefixed("sub", str(name)) for name in record.get("training_participants", [])}
    items = read_object(datalist, "datalist")
    held_out = {subject_of(item, part): part for part in parts_of(items) if part != "training" for item in items[part]}
    common = {subject: part for subject, part in held_out.items() if subject in seen}
    former, new = record.get("settings", {}).get("participants_sha256"), items.get("participants_sha256")
    if not common or (former and new and former != new):
        return
    first = min(common)
    if former and new:
        raise LeakageError(
            f"{first} stands in {common[first]}, but {weights} was trained on it ({len(common)} such subjects); "
            "pre-train on the training part of this datalist, or on another cohort"
        )
    _log.warning(
        "%s was trained on subjects named as %d of validation and test (%s ...): cannot tell whether they are the same "
        "persons, as one of the datalists names no participants.tsv; split with neuroxai split to make sure",
        weights,
        len(common),
        first,
    )


def _last_layer(network: torch.nn.Module) -> str:
    # state dicts are in the order of the layers; buffers alone make no layer
    return [name for name, _ in network.named_parameters()][-1].rpartition(".")[0]
