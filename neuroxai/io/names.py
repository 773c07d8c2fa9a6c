"""File names of BIDS: the one place that takes them apart and puts them together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuroxai.errors import InputError, one_of

_LONGEST = 60  # letters of a start's label; whole names must stay below 255
_ENDINGS = {"affine": ".txt", "warp": ".nii.gz"}


@dataclass(frozen=True)
class BidsName:
    """A file's name, ``sub-01_ses-1_run-2_space-MNI152_desc-brain_T1w.nii.gz``.

    Parameters
    ----------
    participant : str
        With its prefix, as in participants.tsv; empty where the name tells none.
    session : str
        With its prefix, and the run where there are several (``ses-1_run-2``); empty without both.
    entities : mapping of str to str
        The other entities in their order; a word that is none has an empty value.
    suffix, extension : str
        ``T1w`` and ``.nii.gz``.
    """

    participant: str
    session: str
    entities: Mapping[str, str]
    suffix: str
    extension: str = ".nii.gz"

    @classmethod
    def parse(cls, name: str) -> BidsName:
        """Take a file's name apart; any name has a suffix at least."""
        *parts, last = name.split("_")
        suffix, dot, extension = last.partition(".")
        pairs = {key: value for key, _, value in (part.partition("-") for part in parts)}
        subject = f"sub-{value}" if (value := pairs.pop("sub", "")) else ""
        visit = session_id(pairs.pop("ses", None), pairs.pop("run", None))
        return cls(subject, visit, pairs, suffix, dot + extension)

    def __str__(self) -> str:
        pairs = [f"{key}-{value}" if value else key for key, value in self.entities.items()]
        return "_".join([*filter(None, (self.participant, self.session)), *pairs, self.suffix]) + self.extension

    @property
    def place(self) -> str:
        """Path relative to the derivative's folder: ``sub-01/ses-1/anat/sub-01_...``; runs lie side by side."""
        visit = without_run(self.session)
        return "/".join([*filter(None, (self.participant, visit)), "anat", str(self)])

    def replaced(self, suffix: str | None = None, extension: str | None = None, **entities: str | None) -> BidsName:
        """Return the name with other entities, in their place or at the end; None takes one away."""
        changed = {key: value for key, value in {**self.entities, **entities}.items() if value is not None}
        ending = self.extension if extension is None else extension
        return replace(self, entities=changed, suffix=suffix or self.suffix, extension=ending)


def session_id(session: str | None, run: str | None) -> str:
    """Return what tells the scans of a participant apart: ``ses-1_run-2`` of ``"1"`` and ``"2"``; empty of neither."""
    return "_".join(prefixed(key, value) for key, value in (("ses", session), ("run", run)) if value)


def prefixed(prefix: str, name: str) -> str:
    """Return the identifier with its BIDS prefix, added where a table leaves it out."""
    text = name.strip()
    return text if text.startswith(f"{prefix}-") else f"{prefix}-{text}"


def entity(path: str, key: str) -> str | None:
    """Return the value that a path's names give to a BIDS entity: ``entity("sub-01/x.nii", "sub")`` is ``"01"``.

    Raises
    ------
    InputError
        If folder and file name disagree.
    """
    values = []
    for part in path.split("/"):
        values += re.findall(rf"(?:^|_){key}-([A-Za-z0-9+]+)(?=_|$|\.)", part)
    if len(set(values)) > 1:
        raise InputError(
            f"{path}: names {' and '.join(f'{key}-{v}' for v in dict.fromkeys(values))}, wanted one; "
            "rename the file after its folder"
        )
    return values[0] if values else None


def identity_of(stem: str) -> tuple[str, str]:
    """Return participant and session of one file, whatever it is called: letters and digits of a name without any.

    Two runs are two scans, whose results lie side by side.

    Examples
    --------
    >>> identity_of("sub-01_ses-1_run-2_T1w"), identity_of("my scan"), identity_of("_")
    (('sub-01', 'ses-1_run-2'), ('sub-myscan', ''), ('sub-scan', ''))
    """
    subject = entity(stem, "sub")
    if subject is None:
        return "sub-" + (re.sub(r"[^A-Za-z0-9]", "", stem) or "scan"), ""
    return f"sub-{subject}", session_id(entity(stem, "ses"), entity(stem, "run"))


def suffix_of(name: str) -> str:
    """Return a BIDS file name's suffix: ``T1w`` of ``sub-01_desc-brain_T1w.nii.gz``."""
    return BidsName.parse(name).suffix


def method_label(method: str) -> str:
    """Return a method as BIDS label, letters and digits alone: ``lrp_alpha_beta`` becomes ``lrpAlphaBeta``."""
    first, *rest = method.split("_")
    return first + "".join(word.capitalize() for word in rest)


def heatmap_name(participant: str, session: str | None, space: str, method: str, start: str = "") -> str:
    """Return a heatmap's path relative to its derivative's folder.

    Parameters
    ----------
    participant, session : str
        Identifiers as in participants.tsv; the session may be empty, and end in a run (``ses-1_run-2``).
    space : str
        ``"network"`` or ``"orig"``.
    method : str
        Attribution method.
    start : str
        Where relevance starts, from `start_label`; empty for a class.

    Examples
    --------
    >>> heatmap_name("sub-01", "ses-M00", "network", "lrp_alpha_beta")
    'sub-01/ses-M00/anat/sub-01_ses-M00_space-network_desc-lrpAlphaBeta_heatmap.nii.gz'
    """
    entities = {"space": space, "desc": method_label(method) + start}
    return BidsName(participant, session or "", entities, "heatmap").place


def without_run(session: str | None) -> str | None:
    """Return the visit of a scan's session, to which its run may be added: ``ses-1`` of ``ses-1_run-2``."""
    return re.sub(r"(?:^|_)run-[A-Za-z0-9+]+$", "", session or "") or None


def filled_in(template: str, participant: str, session: str | None, what: str) -> Path:
    """Return a path in which ``{participant}``, ``{session}`` and ``{run}`` stand for a scan's identifiers.

    Raises
    ------
    InputError
        If something else stands in braces; `what` names the option.
    """
    visit = without_run(session) or ""
    run = (session or "").removeprefix(visit).strip("_")
    text = template
    for name, value in {"participant": participant, "session": visit, "run": run}.items():
        text = text.replace(f"{{{name}}}", value)
    if "{" in text or "}" in text:
        raise InputError(f"{what} is {template!r}, wanted {{participant}}, {{session}} or {{run}} alone in braces")
    return Path(text).expanduser().resolve()


def resolution_label(spacing: float) -> str:
    """Return a voxel's edge in mm as BIDS label: ``1p5`` of 1.5."""
    return f"{spacing:g}".replace(".", "p")


def sidecar_of(image: Path) -> Path:
    """Return the JSON file beside a NIfTI file."""
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def regions_of(heatmap: Path) -> Path:
    """Return the table of region scores beside a heatmap."""
    return heatmap.with_name(heatmap.name.replace("_heatmap.nii.gz", "_regions.tsv"))


def group_name(method: str, start: str, ending: str) -> str:
    """Return the path of a result over a group of scans, relative to its derivative's folder.

    >>> group_name("lrp_alpha_beta", "PifP03F1", "heatmap.nii.gz")
    'group/group_space-network_desc-lrpAlphaBetaPifP03F1_heatmap.nii.gz'
    """
    return f"group/group_space-network_desc-{method_label(method)}{start}_{ending}"


def transform_name(participant: str, session: str | None, source: str, target: str, kind: str) -> str:
    """Return a transform's path relative to its derivative's folder.

    Parameters
    ----------
    participant, session : str
        Identifiers as in participants.tsv; the session may be empty, and end in a run.
    source, target : str
        Labels of the images: the transform carries the source's image to the target's grid.
    kind : {"affine", "warp"}
        What the file holds.

    Raises
    ------
    InputError
        For another kind, or a label that holds more than letters and digits.

    Examples
    --------
    >>> transform_name("sub-01", "ses-1", "T1w", "MNI152", "affine")
    'sub-01/ses-1/anat/sub-01_ses-1_from-T1w_to-MNI152_mode-image_desc-affine_xfm.txt'
    """
    if kind not in _ENDINGS:
        raise one_of("kind of transform", kind, _ENDINGS)
    for label in (source, target):
        if not re.fullmatch("[A-Za-z0-9]+", label):
            raise InputError(f"label {label!r} of a transform, wanted letters and digits alone, such as 'T1w'")
    entities = {"from": source, "to": target, "mode": "image", "desc": kind}
    return BidsName(participant, session or "", entities, "xfm", _ENDINGS[kind]).place


def start_label(layer: str | None, neuron: Any = None, conditions: Mapping[str, Sequence[int]] | None = None) -> str:
    """Return where relevance starts and through what it goes as part of a BIDS label; empty for a class alone.

    Parameters
    ----------
    layer : str, optional
        Hidden layer; a leading ``features.`` is left out.
    neuron : int, sequence of int or dict, optional
        As `neuroxai.lrp.LRP.attribute` takes it.
    conditions : dict of str to sequence of int, optional
        Layers and the channels that keep their relevance.

    Raises
    ------
    InputError
        For anything that cannot be a neuron.

    Examples
    --------
    >>> start_label("features.pif", {"patch": 3, "filter": 1}), start_label("features.conv4", 12)
    ('PifP03F1', 'Conv4F12')
    >>> start_label(None, None, {"features.conv4": [3, 5]})
    'ViaConv4F3F5'
    """
    label = "" if layer is None else _layer(layer) + _neuron(neuron)
    for name, channels in (conditions or {}).items():
        label += f"Via{_layer(name)}" + "".join(f"F{channel}" for channel in channels)
    if len(label) > _LONGEST:
        label = label[: _LONGEST - 8] + hashlib.sha256(label.encode()).hexdigest()[:8]
    return label


def _layer(name: str) -> str:
    words = re.findall("[A-Za-z0-9]+", name.removeprefix("features."))
    return "".join(word[0].upper() + word[1:] for word in words)


def _neuron(neuron: Any) -> str:
    if neuron is None:
        return ""
    pair = isinstance(neuron, Mapping)
    numbers = [neuron.get("patch"), neuron.get("filter")] if pair else neuron
    numbers = [numbers] if isinstance(numbers, int) else numbers
    whole = isinstance(numbers, list | tuple) and all(type(n) is int and n >= 0 for n in numbers)
    if not whole or not numbers or (pair and len(neuron) != 2):
        raise InputError(
            f'neuron is {neuron!r}, wanted a channel, a list [channel, x, y, z] or {{"patch": p, "filter": f}}'
        )
    first, *others = numbers
    if pair:
        return f"P{first:02d}F{others[0]}"
    return f"F{first}" + ("At" + "x".join(map(str, others)) if others else "")
