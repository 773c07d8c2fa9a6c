"""What each hidden filter looks at: mean heatmaps over a group of scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroxai import io
from neuroxai.bands import limit_of
from neuroxai.derivatives.dataset import describe
from neuroxai.derivatives.explained import GroupRecord, read_group, write_record, write_region_columns
from neuroxai.derivatives.heatmap_names import group_name, method_label, start_label
from neuroxai.derivatives.heatmaps import ScanFiles
from neuroxai.explain.options import ExplainOptions, plain_neuron
from neuroxai.explain.provenance import relative_source
from neuroxai.explain.scores import scorers_of
from neuroxai.layers import PatchIndividualFilter
from neuroxai.space import Space, Volume


class GroupWriter:
    """Write the mean heatmap of each neuron of a hidden layer over all scans (Eitel 2021, figure 9).

    In ``group/`` come one image a neuron on the network's grid, the mean scan, a table that names the images (patch,
    strain, filter, mean activation, relevance), and, last, a record of how they were made. Only the sums are held, in
    float64 and each over the box its neuron reaches. A finished group is not made again (`pending`).

    Parameters
    ----------
    output_dir : str
        Where to write; a BIDS derivative.
    options : ExplainOptions
        Method, layer, conditions; the atlas by which each scan and neuron is scored, in one table a scan.
    neurons : "all" or sequence
        As `neuroxai.components.FilterInferer` has them.
    space : Space
        The network's grid.
    checkpoint, bundle, dataset_dir : str
        As for `neuroxai.explain.writer.FolderWriter`.
    """

    def __init__(
        self,
        output_dir: str,
        options: ExplainOptions,
        neurons: str | Sequence[Any],
        space: Space,
        checkpoint: str = "",
        bundle: str = "",
        dataset_dir: str = "",
    ) -> None:
        self.output_dir, self.options, self.space = Path(output_dir), options, space
        self.dataset_dir = Path(dataset_dir).resolve() if dataset_dir else None
        self.scorers = scorers_of(options.atlas, options.labels, space)
        self._start = start_label(options.layer, None, options.conditions)
        self.record = GroupRecord(
            **vars(options.provenance(checkpoint, bundle, space)),
            layer=options.layer or "",
            neurons=neurons if isinstance(neurons, str) else [plain_neuron(neuron) for neuron in neurons],
            conditions=options.conditions,
        )
        self.clear()

    def pending(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return all scans, or none where the group was finished with these scans and settings."""
        asked = [
            {
                "participant_id": str(item["participant_id"]),
                "session_id": str(item.get("session_id") or "") or None,
                "source": relative_source(str(item["image"]), self.dataset_dir),
                "source_sha256": io.sha256(item["image"]) if Path(item["image"]).is_file() else None,
            }
            for item in items
        ]
        self.record = replace(self.record, scans=asked)
        path = self._group("heatmaps.json")
        if path.is_file():
            former = read_group(path)
            if not former.failed and former == replace(self.record, scan_count=former.scan_count, failed=former.failed):
                return []
        return list(items)

    def clear(self) -> None:
        """Begin anew."""
        self._scans = 0
        self._mean = np.zeros(self.space.shape)
        self._neurons: dict[str, _Neuron] = {}

    def add(self, people: Sequence[tuple[str, str]], images: Tensor, hidden: Iterable[Any]) -> None:
        """Add a batch.

        Parameters
        ----------
        people : sequence of (str, str)
            Participants and sessions.
        images : torch.Tensor, shape (batch, 1, x, y, z)
            The scans as the network takes them.
        hidden : iterable
            What `neuroxai.explain.attribute.Attributor.neurons` yields.
        """
        self._scans += len(people)
        self._mean += np.asarray(images[:, 0].double().sum(0).cpu())
        tables: list[list[pd.DataFrame]] = [[] for _ in people]
        for found in hidden:
            label = start_label(self.options.layer, found.neuron, self.options.conditions)
            relevance = found.relevance.double()
            neuron = self._neurons.setdefault(label, _Neuron(found.neuron, _BoxSum(self.space.shape)))
            neuron.sum.add(relevance.sum((0, 1)).cpu().numpy())
            neuron.activations.extend(found.activation.tolist())
            if self.scorers is not None:
                scorer = self.scorers.on(self.space, relevance.device)
                frame = scorer(found.relevance.float()).to_frame(range(len(people)))
                for number, rows in frame.groupby("participant_id", sort=False):
                    rows = rows.drop(columns="participant_id")
                    rows.insert(0, "neuron", label)
                    tables[int(str(number))].append(rows)
        for (participant, session), frames in zip(people, tables, strict=True):
            if frames:
                files = ScanFiles(self.output_dir, participant, session, self._description)
                io.write_tsv(files.regions, pd.concat(frames))

    def finish(self, network: nn.Module, failures: Sequence[Mapping[str, str]]) -> None:
        """Write means, table and record."""
        if not self._scans:  # finished before, or no scan could be read, which the loader has reported
            return
        module = dict(network.named_modules()).get((self.options.layer or "").partition(":")[0])
        rows = []
        for label, neuron in self._neurons.items():
            path = self._group("heatmap.nii.gz", label)
            mean = neuron.sum.whole() / self._scans
            said = f"neuroxai {self.options.method}, mean of {label}"
            io.write_volume(path, Volume(mean, self.space), description=said, display=limit_of(mean))
            rows.append(
                {
                    "neuron": label,
                    **_place(neuron.neuron, module),
                    "scans": self._scans,
                    "activation_mean": float(np.mean(neuron.activations)),
                    "activation_sd": float(np.std(neuron.activations, ddof=1)) if self._scans > 1 else None,
                    "relevance_sum": float(mean.sum()),
                    "file": path.name,
                }
            )
        scan = self._group("scan.nii.gz")
        io.write_volume(scan, Volume(self._mean / self._scans, self.space), description="neuroxai mean scan")
        io.write_tsv(self._group("heatmaps.tsv"), pd.DataFrame(rows))
        record = replace(self.record, scan_count=self._scans, failed=list(failures))
        if self.scorers is not None:
            write_region_columns(self.output_dir)
        describe(self.output_dir, self.dataset_dir)
        write_record(self._group("heatmaps.json"), record)

    @property
    def _description(self) -> str:
        return method_label(self.options.method) + self._start

    def _group(self, ending: str, label: str | None = None) -> Path:
        start = self._start if label is None else label
        return io.inside(self.output_dir, group_name(self.options.method, start, ending))


class _Neuron:
    """What is gathered of one neuron."""

    def __init__(self, neuron: Any, total: _BoxSum) -> None:
        self.neuron = neuron
        self.sum = total
        self.activations: list[float] = []


class _BoxSum:
    """Sum of arrays, held over the box in which any of them is not zero."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._box: tuple[slice, ...] | None = None
        self._sum: NDArray[np.float64] = np.zeros((0,) * len(shape))

    def add(self, array: NDArray[np.float64]) -> None:
        """Add one array."""
        axes = range(array.ndim)
        found = [np.flatnonzero(array.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
        if not all(len(places) for places in found):
            return
        box = tuple(slice(int(places[0]), int(places[-1]) + 1) for places in found)
        if self._box is None:
            self._box, self._sum = box, array[box].copy()
            return
        both = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(self._box, box, strict=True))
        if both != self._box:
            pads = [(a.start - b.start, b.stop - a.stop) for a, b in zip(self._box, both, strict=True)]
            self._box, self._sum = both, np.pad(self._sum, pads)
        self._sum += array[both]

    def whole(self) -> NDArray[np.float64]:
        """Return the sum on the whole grid."""
        result = np.zeros(self.shape)
        if self._box is not None:
            result[self._box] = self._sum
        return result


def _place(neuron: Any, module: Any) -> dict[str, Any]:
    """Return the columns that say which neuron a row is about."""
    if isinstance(neuron, Mapping):
        plain = isinstance(module, PatchIndividualFilter) and neuron["patch"] < module.strains[0].patches.stop
        return {**neuron, "strain": "plain" if plain else "overlap"}
    if isinstance(neuron, list | tuple):
        return {"filter": neuron[0], "position": " ".join(map(str, neuron[1:]))}
    return {"filter": neuron}
