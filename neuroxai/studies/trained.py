"""A run's trained network: its predictions, the figures of its training, and its explanations.

Every method sees each scan as it streams by: sums by region, group means, known truth. No heatmap is kept but the means
of groups, so that a run of a thousand scans and six methods takes megabytes.
"""

from __future__ import annotations

import glob
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.atlas import Atlas, RegionScorer
from neuroxai.attribution import ControlReference
from neuroxai.attribution.controls import LEAST
from neuroxai.cohort import class_groups
from neuroxai.components import ScanDataset, open_part
from neuroxai.components.data import Failure
from neuroxai.derivatives.predictions import FIT_COLUMNS, Prediction, write_predictions
from neuroxai.derivatives.study_runs import (
    EXPLANATION,
    RunRecord,
    RunResult,
    read_explanation_digest,
    write_explanation,
    write_result,
)
from neuroxai.errors import InputError
from neuroxai.evaluation import GroupMeans, classification_metrics, localisation_metrics, mask_in_space
from neuroxai.explain import Attributor, ExplainOptions
from neuroxai.explain.bundle import open_workflow
from neuroxai.explain.controls import MOST, left_right
from neuroxai.explain.predict import prediction_rows
from neuroxai.report.cohort.averages import cell
from neuroxai.space import Space, Volume
from neuroxai.statistics import lesion_coverage, lesion_relevance
from neuroxai.studies.cohort_folder import truth_file
from neuroxai.studies.runs import digest

TAIL = 10
"""Last validations whose mean ranks the draws of a search (Eitel 2021)."""


class TrainedRun:
    """A run's trained network and its scans, as the network takes them.

    Parameters
    ----------
    bundle : pathlib.Path
        The run's own.
    run : RunRecord
        What is asked for.
    """

    def __init__(self, bundle: Path, run: RunRecord) -> None:
        self.run = run
        self.workflow = open_workflow(bundle, ["inference.json"], dataset_dir=run.cohort, scans=(), accept_unfit=True)
        parser = self.workflow.parser
        self.network: torch.nn.Module = parser.get_parsed_content("network")
        self.space = parser.get_parsed_content("space")
        self.classes: list[str] = parser.get_parsed_content("classes")
        self.device: torch.device = parser.get_parsed_content("device")
        self.failures: dict[tuple[str, str], str] = {}
        self._prepare = parser.get_parsed_content("preprocessing")
        # scans that do not fit are flagged, and stay in a study that was made with them
        self._check = parser.get_parsed_content("fit_check") if "fit_check" in parser else None

    def items(self, part: str) -> list[dict[str, Any]]:
        """Return the items of a part of the split."""
        return open_part(self.run.datalist, part, self.run.cohort, self.classes)

    def scans(self, part: str, group: str | None = None) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        """Yield each item with its scan, shape (1, 1, x, y, z), on the network's device; of one class, if it is named.

        A scan that cannot be read is left out and added to `failures`.
        """
        items = [item for item in self.items(part) if group is None or self.classes[item["label"]] == group]
        dataset = ScanDataset(items, self._prepare, check=self._check)
        for number, item in enumerate(items):
            loaded = dataset[number]
            if isinstance(loaded, Failure):
                self.failures[loaded.participant_id, loaded.session_id] = loaded.error
                continue
            image = loaded["image"]
            plain = image.as_tensor() if hasattr(image, "as_tensor") else image
            yield {**item, **{name: loaded.get(name, "") for name in FIT_COLUMNS}}, plain[None].to(self.device)

    @cached_property
    def controls(self) -> ControlReference:
        """The controls and patients of the run's training part, `MOST` of each, as a reference of controls."""
        controls, patients = class_groups(self.classes)
        found, others = (
            [scan[0].cpu() for _, scan in islice(self.scans("training", group), MOST)] for group in (controls, patients)
        )
        if len(found) < LEAST:
            raise InputError(
                f"{len(found)} scans of class {controls!r} can be read in the training part, {LEAST} or more are "
                "expected for an explanation against controls; leave it out, or set its option baselines to 'zero'"
            )
        changed = torch.stack(others) if others else None
        return ControlReference.of(
            torch.stack(found), self.space.spacing, keep_scans=True, patients=changed, mirror=left_right(self.space)
        )

    def row(self, item: dict[str, Any], logits: torch.Tensor) -> Prediction:
        """Return an item's row of ``predictions.tsv``."""
        keys = ("participant_id", "session_id", "label", *FIT_COLUMNS)
        return prediction_rows({key: [item[key]] for key in keys if key in item}, logits, self.classes)[0]


def predict_run(folder: Path, bundle: Path, run: RunRecord) -> None:
    """Predict every part asked for, and write the run's figures last, which makes it a finished one."""
    opened = TrainedRun(bundle, run)
    figures: dict[str, Any] = {}
    for part in dict.fromkeys(["test", *run.parts]):
        rows = []
        with torch.no_grad():
            for item, scan in opened.scans(part):
                rows.append(opened.row(item, opened.network(scan)))
        if not rows:
            raise InputError(f"no scan of part {part!r} can be read; the first: {next(iter(opened.failures.values()))}")
        write_predictions(folder / f"predictions_{part}.tsv", rows, opened.classes)
        positive = class_groups(opened.classes)[1]
        found = classification_metrics(
            [row.true == positive for row in rows],
            [row.probabilities[positive] for row in rows],
            [row.predicted == positive for row in rows],
            [row.participant_id for row in rows],
            replicates=100,  # the interval is not kept: intervals over runs are the analysis's
        )
        figures[part] = {name: estimate.value for name, estimate in found.items()} | {"scans": len(rows)}
    # training and validation leave out and note what cannot be read
    record = io.read_object(bundle / "models" / "model.json", "record of a training")
    opened.failures.update(
        {(str(item["participant_id"]), str(item["session_id"])): item["error"] for item in record.get("left_out", [])}
    )
    failed = [{"participant_id": who[0], "session_id": who[1], "error": text} for who, text in opened.failures.items()]
    write_result(folder, RunResult(**training_figures(bundle), parts=figures, failed=failed))


def training_figures(bundle: Path) -> dict[str, Any]:
    """Return epochs, steps and validation figures of a training; none of a network that was not trained."""
    models = bundle / "models"
    if not (models / "history.tsv").is_file():
        return {"epochs": 0, "steps": 0, "best_epoch": 0, "validation_score": None}
    history, times = io.read_tsv(models / "history.tsv"), io.read_tsv(models / "times.tsv")
    tail = float(history["balanced_accuracy"].tail(TAIL).mean())
    return {
        "epochs": int(history["epoch"].max()),
        "steps": int(times["steps"].max()),
        "best_epoch": io.read_object(models / "model.json", "record of a training", {"epoch": int})["epoch"],
        # what a search ranks its draws by
        "validation_score": tail if math.isfinite(tail) else None,
    }


_log = logging.getLogger("neuroxai")


def explain_run(folder: Path, bundle: Path, run: RunRecord) -> None:
    """Make what is wanting of a run's explanations, part by part, each written when it is whole."""
    specs, opened = run.explain, None
    for part in run.parts:
        place = folder / "explained" / part
        pending = {name: spec for name, spec in specs.items() if not is_finished(place / name, spec, run.atlases)}
        if not pending:
            continue
        opened = opened or TrainedRun(bundle, run)
        atlases = {name: atlas_on(name, opened.space) for name in run.atlases}
        layers = {name for name, _ in opened.network.named_modules()}
        gatherers = {
            n: _Gatherer(opened, n, spec, atlases)
            for n, spec in pending.items()
            if spec.get("layer") is None or spec["layer"] in layers
        }
        items = opened.items(part)
        background = GroupMeans(opened.space.shape)
        for number, (item, scan) in enumerate(opened.scans(part), start=1):
            truth = truth_of(Path(item["image"]), item, run.lesions, opened.space)
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
            digest_now = explanation_digest(specs[name], run.atlases)
            write_explanation(place / name, specs[name], run.atlases, digest_now)


def explanation_digest(spec: Mapping[str, Any], atlases: Sequence[str]) -> str:
    """Return the digest of all that decides an explanation of a run: what is asked for, atlases, and this version."""
    return digest([dict(spec), atlas_contents(atlases), __version__])


def atlas_contents(atlases: Sequence[str]) -> list[list[str]]:
    """Return each atlas's name with the digests of its files."""
    from neuroxai.atlas.named import find, is_name

    contents = []
    for name in atlases:
        files: list[Path] = []
        if name != "builtin":
            files = list(find(name)) if is_name(name) else _with_labels(Path(name))
        contents.append([name, *(io.content_sha256(path) for path in files)])
    return contents


def _with_labels(image: Path) -> list[Path]:
    """Return a label image and the files of its stem beside it, in which its names may stand."""
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    return sorted(path for path in image.parent.glob(f"{glob.escape(stem)}*") if path.is_file())


def is_finished(place: Path, spec: Mapping[str, Any], atlases: Sequence[str]) -> bool:
    """Whether an explanation stands in a folder, made as it would be now."""
    return (place / EXPLANATION).is_file() and read_explanation_digest(place) == explanation_digest(spec, atlases)


def atlas_on(name: str, space: Space) -> Atlas:
    """Read an atlas, a name or a label image, and bring it to a grid."""
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
        first = next(iter(atlases.values()))
        self.attributor = Attributor(asked.for_classes(opened.classes), first, lambda: opened.controls)
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
