"""A trained bundle: its workflow, its network and what it takes to feed it, ours or other people's."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuroxai.attribution import takes_start
from neuroxai.derivatives.predictions import FIT_COLUMNS
from neuroxai.errors import InputError, SpaceError, ours, root_cause
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.weights import load_checkpoint, misfits, read_record
from neuroxai.io import read_object, read_space
from neuroxai.space import Space

#: What ids and components of bundles' configurations were called before.
RENAMED = {
    "part": "split",
    "start": "initial_relevance",
    "neuroxai.components.Checkpoints": "neuroxai.components.CheckpointHandler",
    "neuroxai.components.EarlyStop": "neuroxai.components.EarlyStopHandler",
    "neuroxai.components.EpochFigure": "neuroxai.components.EpochMetric",
    "neuroxai.components.Reproducible": "neuroxai.components.SeedHandler",
    "neuroxai.components.ToSpaced": "neuroxai.components.ResampleToSpaced",
}
# where other people's training puts the weights inside a checkpoint
_INSIDE = ("model", "state_dict", "network")
_METHOD = "lrp_epsilon"  # for bundles that name none
_ANOTHERS = (
    "bundles of other packages are opened in Python, neuroxai.open_bundle(BUNDLE).explain(SCAN).save(FOLDER), or "
    "served by MONAI Label (`neuroxai label`)"
)


@dataclass(frozen=True)
class Batch:
    """One scan as the network wants it: tensor (1, 1, *space.shape), its grid, the scan's own, and how it fits."""

    tensor: torch.Tensor
    space: Space
    scan: Space
    fit: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights, its transforms and its classes.

    Parameters
    ----------
    name, description : str
        From the bundle's metadata.
    checkpoint : Path
        The weights.
    network : torch.nn.Module
        In evaluation mode, on its device.
    classes : list of str
        In the order of logits; of a network with one logit, the second is its.
    defaults : ExplainOptions
        How the bundle explains if nothing else is asked for.
    hidden_defaults : ExplainOptions
        The same where relevance starts at, or goes through, hidden layers, which `defaults` may not be able to do.
    transform : callable
        From an item of a datalist to what the network takes, under ``key``.
    key : str
        The image's name in an item.
    space : Space, optional
        The network's grid; None: the one that the transform's image has.
    device : str
        Of the network.
    """

    name: str
    description: str
    checkpoint: Path
    network: torch.nn.Module
    classes: list[str]
    defaults: ExplainOptions
    hidden_defaults: ExplainOptions
    transform: Callable[[dict[str, Any]], Any]
    key: str
    space: Space | None
    device: str

    def prepared(self, item: dict[str, Any]) -> Batch:
        """Bring one item of a datalist to the network.

        Raises
        ------
        InputError
            If the scan cannot be used: the reason of the transform that refused it. With ``accept_unfit`` in the item,
            one that is far from the training scans is not refused.
        """
        path = item["image"]
        scan = read_space(path)
        try:
            data = self.transform({**item, self.key: path})
        except Exception as error:  # a transform may raise anything; MONAI wraps it
            known = ours(error)
            raise known or InputError(f"{path}: the bundle's preprocessing failed ({root_cause(error)})") from None
        image = data[self.key]
        space = self.space
        if space is None:
            affine = getattr(image, "affine", None)
            if affine is None or image.ndim != 4:
                raise InputError(
                    f"{self.name}: preprocessing gives {type(image).__name__} of shape {tuple(image.shape)}, expected "
                    "a 3D image with its affine (channel first, track_meta true): without it no heatmap finds its place"
                )
            space = Space(tuple(image.shape[1:]), np.asarray(affine, dtype=np.float64))
        tensor = image.as_tensor() if hasattr(image, "as_tensor") else torch.as_tensor(image)
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: the bundle's preprocessing gives values that are no finite numbers")
        return Batch(tensor[None].to(self.device), space, scan, {name: data.get(name, "") for name in FIT_COLUMNS})


def open_model(bundle: Path, device: str = "cpu") -> Model:
    """Open a trained bundle.

    Raises
    ------
    InputError
        If it is no trained bundle of a 3D classifier; the message says what is missing.
    """
    metadata = classifier_metadata(bundle)
    if (bundle / "configs" / "explain.json").is_file():
        return _ours(bundle, metadata, device)
    return _foreign(bundle, metadata, device)


def classifier_metadata(bundle: Path) -> dict[str, Any]:
    """Read a bundle's metadata, if it is trained and classifies whole 3D scans.

    By metadata: one 3D image in, and an output of format ``classes`` or ``labels`` without a spatial extent.

    Raises
    ------
    InputError
        If it is no bundle, is not trained, or does something else.
    """
    for needed in ("configs/metadata.json", "configs/inference.json"):
        if not (bundle / needed).is_file():
            raise InputError(f"{bundle.name}: has no {needed}, so it is no MONAI bundle")
    if not (bundle / "models" / "model.pt").is_file():
        raise InputError(f"{bundle.name}: has no models/model.pt; train the bundle first")
    metadata = read_object(bundle / "configs" / "metadata.json", "bundle's metadata", {"network_data_format": dict})
    try:
        shapes = metadata["network_data_format"]
        image, output = _first(shapes["inputs"]), _first(shapes["outputs"])
        form, extent = str(output.get("format", "")), list(output.get("spatial_shape") or [1])
        solid = len(image["spatial_shape"]) == 3
    except (LookupError, TypeError, ValueError, StopIteration, AttributeError) as error:
        raise InputError(f"{bundle.name}: metadata.json lacks network_data_format ({error!r})") from None
    if form not in ("classes", "labels") or len([n for n in extent if n != 1]) > 1 or not solid:
        raise InputError(
            f"{bundle.name}: by its metadata it puts out {form or 'nothing known'} from "
            f"{len(image['spatial_shape'])}-dimensional images; expected format 'classes' from 3D scans"
        )
    return metadata


def _ours(bundle: Path, metadata: dict[str, Any], device: str) -> Model:
    from monai.transforms import Compose

    workflow = open_workflow(bundle, ["inference.json", "explain.json"], device=torch.device(device))
    content = workflow.parser.get_parsed_content
    model = Model(
        name=str(metadata.get("name", bundle.name)),
        description=str(metadata.get("description", "")),
        checkpoint=bundle / "models" / "model.pt",
        network=content("network"),
        classes=list(content("classes")),
        defaults=content("options"),
        hidden_defaults=content("options"),
        # bundles of earlier versions have no check of what they are given
        transform=Compose([content(name) for name in ("preprocessing", "fit_check") if name in workflow.parser]),
        key="image",
        space=content("space"),
        device=device,
    )
    if takes_start(model.defaults.method):
        return model
    workflow.parser["conditions"] = {"any": [0]}  # the bundle's JSON says which method it takes then
    workflow.parser.parse(True)
    return replace(model, hidden_defaults=replace(content("options"), conditions=None))


def _foreign(bundle: Path, metadata: dict[str, Any], device: str) -> Model:
    from monai.bundle import ConfigParser

    inference = bundle / "configs" / "inference.json"
    config = ConfigParser(read_object(inference, "configuration of a bundle"))
    config["bundle_root"] = literal(str(bundle))
    for needed in ("network_def", "preprocessing"):
        if needed not in config:
            raise InputError(f"{bundle.name}: inference.json has no {needed!r}, which a MONAI bundle needs")
    try:
        network, transform = (config.get_parsed_content(name) for name in ("network_def", "preprocessing"))
    except Exception as error:  # a stranger's configuration may do anything
        raise ours(error) or InputError(f"{inference}: cannot be used ({root_cause(error)}); restore it") from None
    checkpoint = bundle / "models" / "model.pt"
    state = load_checkpoint(checkpoint)
    for name in _INSIDE:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
            break
    problems = list(misfits(network.state_dict(), state).values()) if isinstance(state, dict) else ["no state dict"]
    if problems:
        raise SpaceError(f"{checkpoint}: does not fit the bundle's network_def: {problems[0]}; train it again")
    network.load_state_dict(state)
    inputs, outputs = metadata["network_data_format"]["inputs"], metadata["network_data_format"]["outputs"]
    record = read_record(str(checkpoint))
    return Model(
        name=str(metadata.get("name", bundle.name)),
        description=str(metadata.get("description", "")),
        checkpoint=checkpoint,
        network=network.to(device).eval(),
        classes=list(record.get("classes") or _classes(_first(outputs))),
        defaults=ExplainOptions(_METHOD),
        hidden_defaults=ExplainOptions(_METHOD),
        transform=transform,
        key=next(iter(inputs)),
        space=None,
        device=device,
    )


def _classes(output: Mapping[str, Any]) -> Sequence[str]:
    """Return class names from the metadata's channels; a network with one logit has two classes."""
    channels = output.get("channel_def")
    channels = channels if isinstance(channels, dict) and all(map(str.isdecimal, channels)) else {}
    names = [str(channels[key]) for key in sorted(channels, key=int)]
    number = output.get("num_channels")
    count = number if isinstance(number, int) and number > 0 else len(names) or 2
    if len(names) != count or len(set(names)) != count:
        names = [str(n) for n in range(count)]
    return ["other", *names] if count == 1 else names


def modality_of(metadata: Mapping[str, Any]) -> str:
    """Return the kind of scan that a network takes, ``"FLAIR"`` or ``"T1w"``, by the metadata's first channel."""
    image = _first(metadata["network_data_format"]["inputs"])
    channels = image.get("channel_def")
    first = channels.get("0", "") if isinstance(channels, Mapping) else channels
    return "FLAIR" if "flair" in str(first).lower() else "T1w"


def _first(table: Mapping[str, Any]) -> Any:
    return next(iter(table.values()))


def open_workflow(bundle: Path, configs: Sequence[str], **overrides: Any) -> Any:
    """Open a bundle's configuration for inference, quietly.

    Values reach the configuration as they are (`literal`): text is never taken for an expression.

    Returns
    -------
    monai.bundle.ConfigWorkflow
        Initialised.
    """
    from monai.bundle import ConfigWorkflow  # slow to import, and scores of heatmaps need no bundle

    files = [bundle / "configs" / name for name in configs]
    known: set[str] = set()
    for file in files:
        if not file.is_file():
            if file.name == "explain.json" and files[0].is_file():
                raise InputError(f"{file}: no such file; {_ANOTHERS}")
            raise InputError(f"{file}: no such file; {bundle} is no bundle with {', '.join(configs)}")
        config = read_object(file, "configuration of a bundle")
        refuse_renamed(config, str(file))
        known |= config.keys()
    refuse_renamed(overrides, str(bundle))
    if "items" in overrides and "items" not in known:
        raise InputError(f"{files[0]}: has no 'items', the scans to take; {_ANOTHERS}")
    if "evaluator" not in known and "validate" not in known:
        raise InputError(f"{files[0]}: has no 'evaluator', which a bundle of this package needs; restore it")
    read_object(bundle / "configs" / "metadata.json", "bundle's metadata")
    if "checkpoint" not in overrides and not (bundle / "models" / "model.pt").is_file():
        raise InputError(
            f"{bundle}/models/model.pt: no such checkpoint; train the bundle first (see its docs/README.md)"
        )
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # the notice that configurations run code stands in the help text and the README
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=[str(f) for f in files],
            meta_file=str(bundle / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="infer",
            bundle_root=literal(str(bundle.resolve())),
            **{name: literal(value) if isinstance(value, str) else value for name, value in overrides.items()},
            # in bundles of earlier versions the writer is not told which network it is
            **({"heatmaps::network": "@network"} if "explain.json" in configs and "heatmaps" in known else {}),
        )
        workflow.initialize()
    return workflow


def refuse_renamed(config: Mapping[str, Any], where: str) -> None:
    """Refuse ids of a configuration, and components in it, by the names that they had before.

    Raises
    ------
    InputError
        Naming the old name and the new one.
    """
    for name in (*(re.split(r"#|::", key.lstrip("+"), maxsplit=1)[0] for key in config), *_components(config)):
        if name in RENAMED:
            raise InputError(
                f"{where}: {name} is called {RENAMED[name]} now; rename it, or take the configs/ of this version"
            )


def _components(config: Any) -> Iterator[str]:
    """Name all that is made by ``_target_`` anywhere in a configuration."""
    for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
        if key == "_target_":
            yield str(value)
        elif isinstance(value, Mapping | list):
            yield from _components(value)


def literal(text: str) -> str:
    r"""Write a text so that MONAI's configurations take it as it is.

    They take ``#`` for ``::`` wherever it stands, and ``@``, ``%`` and ``$`` for references, macros and expressions; in
    an expression that spells these signs out they are none.

    Examples
    --------
    >>> literal("/data/#1")
    "$'/data/\\x231'"
    """
    return "$" + "".join(f"\\x{ord(sign):02x}" if sign in "#@%$:" else sign for sign in ascii(text))
