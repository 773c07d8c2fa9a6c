"""One explained scan: what its files are called, its heatmap's sidecar, its table of regions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai import io
from neuroxai.derivatives.heatmap_names import NETWORK, method_label, start_label
from neuroxai.derivatives.predictions import Prediction
from neuroxai.derivatives.records import codec, from_json, to_json
from neuroxai.errors import InputError
from neuroxai.io.names import BidsName, sidecar_of
from neuroxai.space import Space

if TYPE_CHECKING:
    import pandas as pd

RESEARCH_USE = "For research use only; not a medical device."


@dataclass(frozen=True)
class Provenance:
    """What every explanation notes of network and method.

    Parameters
    ----------
    method, options
        As `neuroxai.attribution.create` takes them.
    checkpoint_sha256 : str or None
        Of the weights.
    bundle : str
        Its name.
    atlas : str, mapping or None
        "builtin", or name, file and checksum of another one.
    network_space : mapping
        The network's grid (`neuroxai.space.Space.to_dict`).
    versions : mapping of str to str
        Of the packages that took part.
    """

    method: str = ""
    options: Mapping[str, Any] | None = field(default=None, metadata=codec(write=dict))
    checkpoint_sha256: str | None = None
    bundle: str = ""
    atlas: Any = None
    network_space: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = field(default=None, metadata=codec(write=dict))
    research_use: str = field(default=RESEARCH_USE, metadata=codec("ResearchUse"))

    @property
    def grid(self) -> Space | None:
        """The network's grid; None where it is not noted."""
        return Space.from_dict(dict(self.network_space)) if self.network_space else None


@dataclass(frozen=True)
class Run(Provenance):
    """What all scans of one call have in common; None where an older file does not say.

    Parameters
    ----------
    start : {"logit", "probability"} or None
        Where relevance starts; None for other methods, and at a hidden layer.
    explained : int, "predicted" or None
        The class asked for; None at a hidden layer.
    layer, neuron, conditions : optional
        The hidden start, and the channels that keep relevance.
    native, maps : bool
        Whether heatmaps on the scan's own grid, and any maps at all, are written.
    score_space : {"network", "scan"}
        Where regions are summed up.
    """

    start: str | None = None
    explained: int | str | None = None
    layer: str | None = None
    neuron: Any = None
    conditions: Mapping[str, Sequence[int]] | None = None
    native: bool | None = None
    maps: bool | None = None
    score_space: str | None = None

    @property
    def start_label(self) -> str:
        """The hidden start as part of names; empty for a class."""
        return start_label(self.layer, self.neuron, self.conditions)

    @property
    def description(self) -> str:
        """The BIDS description of its files: method and start."""
        return method_label(self.method) + self.start_label


@dataclass(frozen=True)
class Sidecar(Run):
    """The JSON beside a heatmap.

    Parameters
    ----------
    target, score, probability
        The class explained, its logit and probability; at a hidden layer the activation is the score.
    prediction : Prediction or None
        The scan's row of ``predictions.tsv``.
    predicted, true : str or None
        Classes.
    source, source_sha256, source_folder, orientation
        The scan, below which folder it lies, and how its axes run where the user said so.
    seen : str or None
        Whether the network had seen the scan.
    prepared : mapping or None
        How `neuroxai prepare` made the scan.
    names_sha256 : str or None
        Of the atlas's names.
    relevance_sum, relevance_absolute, relevance_limit : float or None
        Sum, sum of magnitudes, and the limit of the scan's own colour scale.
    files : mapping of str to str or None
        Names and checksums of all files of the scan: in the network-space sidecar, which is written last.
    space : mapping
        The heatmap's grid.
    """

    target: str | None = None
    score: float | None = None
    probability: float | None = None
    prediction: Prediction | None = field(default=None, metadata=codec(write=Prediction.row, read=Prediction.of_row))
    predicted: str | None = None
    true: str | None = None
    source: str | None = None
    source_sha256: str | None = None
    seen: str | None = None
    source_folder: str | None = None
    orientation: str | None = None
    prepared: Mapping[str, Any] | None = None
    names_sha256: str | None = None
    relevance_sum: float | None = None
    relevance_absolute: float | None = None
    relevance_limit: float | None = None
    files: Mapping[str, str] | None = field(default=None, metadata=codec(absent=True))
    space: Mapping[str, Any] | None = None

    @property
    def run(self) -> Run:
        """What it has in common with the other scans of its call."""
        return Run(**{name: getattr(self, name) for name in Run.__dataclass_fields__})

    @property
    def row(self) -> Prediction:
        """The scan's row of ``predictions.tsv``, with whether the network had seen it."""
        assert self.prediction is not None  # of what stands
        return replace(self.prediction, seen=self.seen or "unknown")

    def scan(self, base: str | os.PathLike[str] | None = None) -> Path | None:
        """Return where the scan lies; None where no source is noted.

        Parameters
        ----------
        base : path_like, optional
            The cohort's folder, to which sources are relative.

        Raises
        ------
        InputError
            If the source lies outside the cohort's folder.
        """
        if not isinstance(self.source, str) or not self.source:
            return None
        return io.inside(base, self.source, follow_links=False) if base else Path(self.source)


def read_sidecar(path: Path) -> Sidecar:
    """Read a heatmap's sidecar.

    Raises
    ------
    InputError
        If it is absent or is none.
    """
    texts = dict.fromkeys(("method", "source", "source_folder", "target", "start"), str)
    values = io.read_object(path, "heatmap's sidecar", optional=texts | {"options": dict, "versions": dict})
    try:
        return from_json(Sidecar, values)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: is no heatmap's sidecar ({error}); explain the scan again") from None


def write_sidecar(path: Path, sidecar: Sidecar) -> Path:
    """Write a heatmap's sidecar."""
    return io.write_json(path, to_json(sidecar))


@dataclass(frozen=True)
class ScanFiles:
    """Where one explained scan's files lie, whether they are there or not.

    Parameters
    ----------
    root : Path
        The output folder.
    participant_id, session_id : str
        As in participants.tsv; the session may be empty, and end in a run.
    description : str
        Of the run.
    """

    root: Path
    participant_id: str
    session_id: str
    description: str

    def name(self, space: str = NETWORK) -> BidsName:
        """Return a heatmap's name."""
        return BidsName(self.participant_id, self.session_id, {"space": space, "desc": self.description}, "heatmap")

    def heatmap(self, space: str = NETWORK) -> Path:
        """Return the path of a heatmap, inside the output folder."""
        return io.inside(self.root, self.name(space).place)

    def sidecar(self, space: str = NETWORK) -> Path:
        """Return the path of the JSON beside a heatmap."""
        return sidecar_of(self.heatmap(space))

    @property
    def regions(self) -> Path:
        """The path of the table of regions."""
        return io.inside(self.root, self.name().replaced("regions", ".tsv").place)

    def standing(self, content: bool = True) -> Sidecar | None:
        """Return the network-space sidecar if it and the files that it lists stand whole; else None.

        Parameters
        ----------
        content : bool
            Compare checksums too; without it the files must be there.
        """
        return _standing(self.sidecar(), content)

    def finish(self, sidecar: Sidecar, files: Iterable[Path]) -> Sidecar:
        """Write the network-space sidecar with the checksums of the scan's files; the scan is finished then."""
        folder = self.sidecar().parent
        listed = {path.relative_to(folder).as_posix(): io.sha256(path) for path in files}
        done = replace(sidecar, files={**(sidecar.files or {}), **listed})
        write_sidecar(self.sidecar(), done)
        return done

    def drop_changed(self, scan: Path) -> None:
        """Remove results of a scan that could not be explained now, if its content is another than theirs."""
        sidecar = self.standing(content=False)
        if sidecar is None or not scan.is_file() or sidecar.source_sha256 == io.sha256(scan):
            return
        for name in sidecar.files or {}:
            io.inside(self.sidecar().parent, name).unlink(missing_ok=True)
        self.sidecar().unlink()

    def check_source(self, source: str, folder: str | None, scan: Path) -> None:
        """Refuse to put a scan's results in the place of another scan's that bears its name.

        A scan that was moved, or whose content has changed at its place, is the same scan.

        Raises
        ------
        InputError
            If results of the scan's name are there, made from another file with another content.
        """
        name = self.name()
        for path in sorted(self.sidecar().parent.glob(str(name.replaced(extension=".json", desc="*")))):
            found = _standing(path, content=False)
            if found is None or (found.source, found.source_folder) == (source, folder):
                continue
            if scan.is_file() and found.source_sha256 != io.sha256(scan):
                raise InputError(
                    f"{scan}: {path} holds results of another scan of this name, {found.source} in "
                    f"{found.source_folder}; name another folder, rename the scan, or delete those results"
                )

    def renamed(self, sidecar: Sidecar, names: Mapping[int, str]) -> Sidecar | None:
        """Bring the names of the regions up to date, in table and sidecar; None where the regions are others.

        The figures stay: they are sums over the image's values, which a table of names does not change.
        """
        table = read_regions(self.regions, numbers=("index",))
        if sorted(int(index) for index in table["index"]) != sorted(names):
            return None
        table["name"] = [names[int(index)] for index in table["index"]]
        return self.finish(replace(sidecar, names_sha256=names_digest(names)), [io.write_tsv(self.regions, table)])


def _standing(path: Path, content: bool) -> Sidecar | None:
    try:
        sidecar = read_sidecar(path)
    except InputError:
        return None
    if not isinstance(sidecar.files, dict) or sidecar.prediction is None:
        return None
    for name, digest in sidecar.files.items():
        file = io.inside(path.parent, name, follow_links=False)  # to follow them takes as long as all else
        if not file.is_file() or (content and io.sha256(file) != digest):
            return None
    return sidecar


def read_regions(path: Path, numbers: Sequence[str] = (), required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a scan's table of regions, which has a name per row.

    Raises
    ------
    InputError
        If it is absent, lacks a column, or a number is none.
    """
    return io.read_tsv(path, required=("name", *required), numbers=tuple(numbers))


def names_digest(names: Mapping[int, str] | None) -> str | None:
    """Return a checksum of an atlas's names, by which a corrected table of labels is noticed; None without atlas."""
    return None if names is None else hashlib.sha256(json.dumps(sorted(names.items())).encode()).hexdigest()
