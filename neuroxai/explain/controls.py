"""The reference of controls that lies beside a bundle's weights: made of its own training part, and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuroxai import attribution
from neuroxai.attribution import ControlReference
from neuroxai.attribution.controls import LEAST
from neuroxai.cohort import UNKNOWN, load_datalist
from neuroxai.cohort.groups import TWIN
from neuroxai.errors import InputError, LeakageError, SpaceError, one_of
from neuroxai.explain.bundle import open_workflow
from neuroxai.explain.weights import load_checkpoint, read_record, save
from neuroxai.io import sha256
from neuroxai.space import Space

FILE = "controls.pt"
MOST = 100  # scans of a class read; more would hardly change mean and components
_FORMAT = 3
METHOD, BASELINES = "integrated_gradients", "healthy_twin"
"""What `--against controls` means by default: the best by the twin swap (docs/concepts/trust.md)."""
STEPS = 20  # of the path, which is short


def beside(checkpoint: str | Path) -> Path:
    """Return where the reference of a checkpoint lies."""
    return Path(checkpoint).with_name(FILE)


def against_controls(against: str, options: Mapping[str, Any], method: str | None) -> dict[str, Any]:
    """Return method and options of an explanation against controls.

    Parameters
    ----------
    against : {"controls"}
        What the scan is held against.
    options : mapping
        Of the method, as given.
    method : str, optional
        As given; `METHOD` by default.

    Raises
    ------
    InputError
        If the method has no baselines, or something else is to be held against.
    """
    if against != "controls":
        raise one_of("what to explain against", against, ["controls"])
    chosen = method or METHOD
    if not attribution.takes_baselines(chosen):
        able = ", ".join(name for name in attribution.names() if attribution.takes_baselines(name))
        raise InputError(f"method {chosen!r} has no baselines to be held against controls; use one of: {able}")
    steps = {"n_steps": STEPS} if chosen == METHOD else {}
    return {"method": chosen, "options": {"baselines": BASELINES, **steps, **options}}


def bundle_method(checkpoint: str, hidden: Any, otherwise: str) -> str:
    """Return a bundle's method: `METHOD` where a reference of controls lies beside the weights.

    `otherwise` is that of a bundle without one, and where relevance starts at, or goes through, hidden layers.
    """
    return METHOD if not hidden and beside(checkpoint).is_file() else otherwise


def bundle_options(checkpoint: str, method: str, otherwise: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `bundle_method`."""
    if method == METHOD and beside(checkpoint).is_file():
        return {**against_controls("controls", {}, METHOD)["options"]}
    return dict(otherwise)


def save_controls(
    checkpoint: Path, reference: ControlReference, space: Space, record: Mapping[str, Any], people: Sequence[str]
) -> Path:
    """Write a reference beside a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        The weights it belongs to.
    reference : ControlReference
        On the network's grid.
    space : Space
        That grid.
    record : mapping
        Of the training (`neuroxai.explain.weights.read_record`).
    people : sequence of str
        The controls and the patients.

    Raises
    ------
    LeakageError
        If one of them is not in the training part.
    """
    known = {str(who) for who in record.get("training_participants") or ()}
    others = sorted(set(people) - known)
    if others:
        raise LeakageError(
            f"{others[0]} was not in the training of {checkpoint}, expected the training part alone: a reference that "
            "holds scans which are explained later would find nothing in them"
        )
    path = beside(checkpoint)
    content: dict[str, Any] = {
        "format": _FORMAT,
        "checkpoint_sha256": sha256(checkpoint),
        "space": space.to_dict(),
        "normalisation": (record.get("settings") or {}).get("normalisation"),
        "mean": reference.mean.half(),  # half the size, and as exact as the scans themselves
        "components": reference.components.half(),
        "noise": reference.noise,
        "controls": reference.controls,
        "spacing": list(reference.spacing),
        "scans": None if reference.scans is None else reference.scans.half(),
        "change": None if reference.change is None else reference.change.half(),
        "patients": reference.patients,
        "variety": reference.variety,
    }
    save(path, content)
    return path


def load_controls(checkpoint: str | Path, space: Space, normalisation: str | None = None) -> ControlReference:
    """Read the reference beside a checkpoint.

    Parameters
    ----------
    checkpoint : path_like
        The weights.
    space : Space
        The network's grid.
    normalisation : str, optional
        How scans are prepared; as in the training by default.

    Raises
    ------
    InputError
        If there is none, it is damaged, or was made with other weights or another preparation.
    SpaceError
        If it lies on another grid.
    """
    path = beside(checkpoint)
    again = "make it with `neuroxai bundle controls BUNDLE COHORT`"
    if not path.is_file():
        raise InputError(f"{path}: no such reference of controls; {again}")
    found = load_checkpoint(path)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise InputError(f"{path}: is no reference of controls of format {_FORMAT}; {again}")
    if found["checkpoint_sha256"] != sha256(checkpoint):
        raise InputError(f"{path}: was made with other weights than {Path(checkpoint).name}; {again}")
    if normalisation is not None and found["normalisation"] != normalisation:
        raise InputError(
            f"{path}: its scans were prepared by {found['normalisation']!r}, the network's are by {normalisation!r}; "
            f"{again}"
        )
    own = Space.from_dict(found["space"])
    if not own.matches(space):
        raise SpaceError(f"{path}: lies on {own.describe()}, the network on {space.describe()}; {again}")
    scans, change = found["scans"], found["change"]
    return ControlReference(
        found["mean"].float(),
        found["components"].float(),
        float(found["noise"]),
        int(found["controls"]),
        tuple(found["spacing"]),
        None if scans is None else scans.float(),
        None if change is None else change.float(),
        int(found["patients"]),
        float(found["variety"]),
    )


def make_controls(
    bundle: Path, cohort: Path, datalist: Path | None = None, healthy: str | None = None, keep_scans: bool = False
) -> tuple[Path, ControlReference]:
    """Make the reference of a trained bundle of its training part, and write it beside the weights.

    It describes the controls, and the mean change of the patients: all other classes. Of more than `MOST` scans of
    either every so many is taken.

    Parameters
    ----------
    bundle, cohort : Path
        The trained bundle, and the folder of the cohort that it was trained on.
    datalist : Path, optional
        As it was trained with; ``datalist.json`` in the cohort by default.
    healthy : str, optional
        The controls' class; the first one by default.
    keep_scans : bool
        Keep the scans themselves too, which "nearest_controls" needs. They are people's scans: ask them.

    Returns
    -------
    path : Path
        The file written.
    reference : ControlReference

    Raises
    ------
    InputError
        If the bundle is not trained or has no record, the class is unknown, or fewer than three controls or
        patients can be read.
    """
    checkpoint = bundle / "models" / "model.pt"
    record = read_record(str(checkpoint))
    if not record:
        raise InputError(f"{bundle}: has no models/model.json, which says who was in the training; train it again")
    classes = list(record["classes"])
    if healthy is not None and healthy not in classes:
        raise one_of("class of controls", healthy, classes)
    label = 0 if healthy is None else classes.index(healthy)
    training = load_datalist(datalist or cohort / "datalist.json", "training", cohort)
    parts = [_taken([item for item in training if item.get("label") == label])]
    parts.append(_taken([item for item in training if item.get("label") not in (None, UNKNOWN, label)]))
    items = [{"session_id": "", **item, "accept_unfit": True} for part in parts for item in part]
    flow = open_workflow(bundle, ["inference.json"], scans=tuple(items))
    read = [found["image"] for found in flow.dataset if isinstance(found, Mapping)]
    if min(map(len, parts)) < LEAST or len(read) < len(items):
        raise InputError(
            f"{len(read)} of {len(parts[0])} controls and {len(parts[1])} patients can be read, expected all, and "
            f"{LEAST} or more of each"
        )
    stacked = torch.stack([image.as_tensor() if hasattr(image, "as_tensor") else image for image in read])
    space: Space = flow.parser.get_parsed_content("space")
    count = len(parts[0])
    made = ControlReference.of(stacked[:count], space.spacing, keep_scans, stacked[count:], left_right(space))
    people = [str(item["participant_id"]) for item in items]
    return save_controls(checkpoint, made, space, record, people), made


def left_right(space: Space) -> int | None:
    """Return a grid's axis from left to right; None where the brain's middle (x = 0) is not that of the grid."""
    axis = int(np.abs(space.affine[0, :3]).argmax())
    middle = space.affine[0] @ [*(np.array(space.shape) - 1) / 2, 1]
    return axis if abs(middle) <= space.spacing[axis] else None


def _taken(items: list[Any]) -> list[Any]:
    """Take at most `MOST` scans, evenly, twins of both classes alike."""
    if any(TWIN in item for item in items):
        items = sorted(items, key=lambda item: str(item.get(TWIN)))
    return items[:: -(-len(items) // MOST) or 1]
