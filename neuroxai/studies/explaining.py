"""Explanations of a run: every method on each scan as it streams by; sums by region, group means, known truth.

No heatmap is kept but the means of groups, so that a run of a thousand scans and six methods takes megabytes.
"""

from __future__ import annotations

import glob
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.atlas import Atlas, RegionScorer
from neuroxai.cohort import class_groups
from neuroxai.errors import InputError
from neuroxai.evaluation import GroupMeans, localisation_metrics, mask_in_space
from neuroxai.explain import Attributor, ExplainOptions
from neuroxai.report.cohort.averages import cell
from neuroxai.space import Space, Volume
from neuroxai.statistics import lesion_coverage, lesion_relevance
from neuroxai.studies.data import truth_file
from neuroxai.studies.outcome import TrainedRun
from neuroxai.studies.runs import digest

_log = logging.getLogger("neuroxai")


def explain_run(folder: Path, bundle: Path, facts: dict[str, Any]) -> None:
    """Make what is wanting of a run's explanations, part by part, each written when it is whole."""
    specs: dict[str, Any] = facts["explain"]
    opened: TrainedRun | None = None
    for part in facts["parts"]:
        place = folder / "explained" / part
        pending = {
            name: spec
            for name, spec in specs.items()
            if not is_finished(place / name, explanation_digest(spec, facts["atlases"]))
        }  # fmt: skip
        if not pending:
            continue
        opened = opened or TrainedRun(bundle, facts)
        atlases = {name: _atlas(name, opened.space) for name in facts["atlases"]}
        layers = {name for name, _ in opened.network.named_modules()}
        gatherers = {
            n: _Gatherer(opened, n, spec, atlases)
            for n, spec in pending.items()
            if spec.get("layer") is None or spec["layer"] in layers
        }
        items = opened.items(part)
        background = GroupMeans(opened.space.shape)
        for number, (item, scan) in enumerate(opened.scans(part), start=1):
            truth = truth_of(Path(item["image"]), item, facts.get("lesions"), opened.space)
            background.add(_array(scan), ["scan"])
            for gatherer in gatherers.values():
                gatherer.add(item, scan, truth)
            _log.info("explained %s: %d of %d", part, number, len(items))
        if (mean := background.mean("scan")) is not None:
            io.write_volume(place / "mean_scan.nii.gz", Volume(mean.astype(np.float32), opened.space))
        for name in pending:
            # arms may have other networks: one without the layer has no such explanation
            if name in gatherers:
                gatherers[name].write(place / name)
            else:
                _log.info("%s: the network has no layer %s", name, specs[name]["layer"])
            record = {
                **specs[name],
                "atlases": facts["atlases"],
                "digest": explanation_digest(specs[name], facts["atlases"]),
            }
            io.write_json(place / name / "explanation.json", record)


def explanation_digest(spec: Mapping[str, Any], atlases: Sequence[str]) -> str:
    """Return the digest of all that decides an explanation of a run: what is asked for, atlases, and this version."""
    from neuroxai.atlas.named import find, is_name

    contents = []
    for name in atlases:
        files: list[Path] = []
        if name != "builtin":
            files = list(find(name)) if is_name(name) else _with_labels(Path(name))
        contents.append([name, *(io.content_sha256(path) for path in files)])
    return digest([dict(spec), contents, __version__])


def _with_labels(image: Path) -> list[Path]:
    """Return a label image and the files of its stem beside it, in which its names may stand."""
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    return sorted(path for path in image.parent.glob(f"{glob.escape(stem)}*") if path.is_file())


def is_finished(place: Path, wanted: str) -> bool:
    """Whether an explanation stands in a folder, made as it is wanted now."""
    path = place / "explanation.json"
    return path.is_file() and io.read_object(path, "explanation of a study").get("digest") == wanted


def _atlas(name: str, space: Space) -> Atlas:
    from neuroxai.atlas import builtin, get, load
    from neuroxai.atlas.named import is_name

    if name == "builtin":
        return builtin(space)
    return (get(name) if is_name(name) else load(name)).resampled_to(space)


def atlas_label(name: str) -> str:
    """Return what files call an atlas: its name, or its file's."""
    stem = Path(name).name.removesuffix(".gz").removesuffix(".nii")
    return "".join(c if c.isalnum() else "-" for c in stem)


def truth_of(scan: Path, item: Mapping[str, Any], lesions: str | None, space: Space) -> NDArray[np.bool_] | None:
    """Return the lesions or the planted effect of a scan on the network's grid; None where there are none."""
    path = truth_file(scan, item["participant_id"], item.get("session_id"), lesions)
    if path is None:
        return None
    mask = mask_in_space(io.read_labels(path), space)
    return mask if mask.any() else None


class _Gatherer:
    """One explanation of all scans of a part."""

    def __init__(self, opened: TrainedRun, name: str, spec: Mapping[str, Any], atlases: Mapping[str, Atlas]) -> None:
        self.opened, self.space = opened, opened.space
        asked = ExplainOptions(
            spec["method"],
            spec.get("options") or {},
            spec.get("target") or len(opened.classes) - 1,
            spec.get("start"),
            spec.get("layer"),
        )
        self.neurons = spec.get("neurons")
        self.attributor = Attributor(asked.for_classes(opened.classes), next(iter(atlases.values())))
        self.scorers = {key: RegionScorer(atlas).to(opened.device) for key, atlas in atlases.items()}
        self.tables: dict[str, list[pd.DataFrame]] = {key: [] for key in atlases}
        self.scans: list[dict[str, Any]] = []
        self.means = GroupMeans(self.space.shape)

    def add(self, item: Mapping[str, Any], scan: torch.Tensor, truth: NDArray[np.bool_] | None) -> None:
        """Explain one scan."""
        if self.neurons is not None:
            chosen = None if self.neurons == "all" else self.neurons
            for hidden in self.attributor.neurons(scan, self.opened.network, chosen)[2]:
                self.means.add(_array(hidden.relevance), [_neuron(hidden.neuron)])
            return
        result = self.attributor(scan, self.opened.network)
        heatmap = result.heatmap
        row = self.opened.row(dict(item), result.logits)
        who = {"participant_id": row.participant_id, "session_id": row.session_id}
        values = _array(heatmap)
        if not np.isfinite(values).all():
            raise InputError(f"{who['participant_id']}: the heatmap is not finite; is the network's training?")
        # groups are those of the classes, whichever of them is explained
        patients = class_groups(self.opened.classes)[1]
        which = cell(row.true or "", row.predicted, patients)
        self.means.add(values, ["all", which, f"class-{row.true}"])
        self.scans.append({
            **who, "true": row.true, "predicted": row.predicted, "cell": which,
            "probability": row.probabilities[patients], "sum": values.sum(), "positive": np.maximum(values, 0).sum(),
            **_truths(values, truth, _array(scan) != 0, self.space.spacing),
        })  # fmt: skip
        for key, scorer in self.scorers.items():
            table = scorer(heatmap).to_frame()
            for place, (column, value) in enumerate(who.items()):
                table.insert(place, column, value)
            self.tables[key].append(table)

    def write(self, place: Path) -> None:
        """Write tables and mean maps."""
        if self.scans:
            io.write_tsv(place / "scans.tsv", pd.DataFrame(self.scans))
        for key, tables in self.tables.items():
            if tables:
                io.write_tsv(place / f"regions_{atlas_label(key)}.tsv", pd.concat(tables, ignore_index=True))
        for group in self.means.groups():
            mean = self.means.mean(group)
            # a map of zeros (a dead network) is no map, and none could be drawn
            if mean is not None and np.ptp(mean) > 0:
                io.write_volume(place / f"mean_{group}.nii.gz", Volume(mean.astype(np.float32), self.space))


def _truths(
    heatmap: NDArray[Any], truth: NDArray[np.bool_] | None, brain: NDArray[np.bool_], spacing: Sequence[float]
) -> dict[str, float]:
    """Return how much relevance the truth holds; NaN where there is no truth."""
    names = ("truth_voxels", "coverage", "relevance_in_truth", "roc_auc", "density_ratio", "relevance_mass")
    if truth is None or not (truth & brain).any():
        return dict.fromkeys(names, math.nan)
    found = localisation_metrics(heatmap, truth, brain, spacing=spacing)
    return {
        "truth_voxels": float(truth.sum()),
        "coverage": lesion_coverage(truth, brain),
        "relevance_in_truth": lesion_relevance(heatmap, truth),
        **{name: found[name] for name in names[3:]},
    }


def _neuron(neuron: Any) -> str:
    """Return what files call a neuron: ``filter-003``, ``patch-002-filter-001``, or a place in a filter."""
    if isinstance(neuron, Mapping):
        return f"patch-{neuron['patch']:03d}-filter-{neuron['filter']:03d}"
    numbers = (neuron,) if isinstance(neuron, int) else tuple(neuron)
    return "filter-" + "-".join(f"{number:03d}" for number in numbers)


def _array(maps: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(maps[0, 0].detach().double().cpu().numpy())
