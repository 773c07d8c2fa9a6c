"""The networks and scans that heatmaps are measured on: trainings of one condition, or a bundle that is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroxai import attribution, io
from neuroxai.atlas import Atlas
from neuroxai.attribution.baselines import FROM_CONTROLS, references_of
from neuroxai.cohort import class_groups, load_datalist
from neuroxai.cohort.groups import TWIN
from neuroxai.components import open_part
from neuroxai.derivatives.study_runs import RunRecord, read_run
from neuroxai.errors import InputError
from neuroxai.evaluation import KnownTruth, mask_in_space
from neuroxai.evaluation.heatmaps.trust import log_odds
from neuroxai.explain.predict import probabilities
from neuroxai.preprocess.mapping import native_of
from neuroxai.report.cohort.truth import mask_beside
from neuroxai.statistics.roc import weighted_areas
from neuroxai.studies.cohort_folder import truth_file
from neuroxai.studies.trained import TrainedRun, atlas_contents, atlas_on

MOST = 40
"""Healthy scans that are taken at most, for the fill and for flags."""
_ADD_UP = ("integrated_gradients", "deep_lift")


@dataclass(frozen=True)
class Unit:
    """Networks that are measured together on the same held-out scans.

    Parameters
    ----------
    name : str
        Of its folder.
    arm : str
        The study's arm, or `GIVEN`.
    runs : tuple of str
        Folders of finished runs: trainings of one arm and split.
    bundle : str
        Folder of a trained bundle that is measured in the runs' place, on their scans; empty for none.
    scans : int
        Patients at most.
    fill : str
        What voxels are replaced by: controls, zero or blur.
    source : str
        The cohort before the arm's preparation.
    atlas : str
        Whose regions are ranked: a name, or a label image.
    """

    name: str
    arm: str
    runs: tuple[str, ...]
    bundle: str
    scans: int
    fill: str
    source: str
    atlas: str = "builtin"


GIVEN = "this bundle"
"""What a bundle is called that was trained before."""


class _Given(TrainedRun):
    """A bundle that was trained elsewhere: its classes may bear other names than the cohort's."""

    def items(self, part: str) -> list[dict[str, Any]]:
        return open_part(self.run.datalist, part, self.run.cohort)


class Opened:
    """A unit with its networks loaded and its scans prepared."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        run = read_run(Path(unit.runs[0]))
        if unit.bundle:
            opened: list[TrainedRun] = [_Given(Path(unit.bundle), run)]
        else:
            opened = [TrainedRun(Path(folder) / "bundle", read_run(Path(folder))) for folder in unit.runs]
        first = self._first = opened[0]
        self.networks: list[nn.Module] = [one.network for one in opened]
        self.atlas: Atlas = atlas_on(unit.atlas, first.space)
        torch.set_num_threads(run.threads)
        patients, healthy = self._held_out(run)
        #: scans of held-out patients, and of held-out healthy people
        self.held_out = tuple([scan for _, scan in group.values()] for group in (patients, healthy))
        truths: list[NDArray[np.bool_]] = []
        for name, (item, _) in list(patients.items()):
            truth = truth_on(item, run, first.space, Path(unit.source))
            if truth is None or len(truths) == unit.scans:
                del patients[name]
            else:
                truths.append(truth)
        if not truths:
            raise InputError(
                f"{run.cohort}: no held-out patient has a mask of the effect; give a cohort of `neuroxai simulate`"
            )
        scans = torch.cat([scan for _, scan in patients.values()])
        with torch.no_grad():
            outputs = int(self.networks[0](scans[:1]).shape[1])
        target = first.classes.index(class_groups(first.classes)[1]) if outputs > 1 else 0
        own = _twins(patients, healthy, run)
        others = [scan for name, (_, scan) in healthy.items() if name not in own]
        controls = [*(healthy[name][1] for name in own), *others][: max(MOST, len(own))]
        self.test = KnownTruth(
            scans, np.stack(truths), target, first.space.spacing, atlas=self.atlas,
            fill=self._mean_control() if unit.fill == "controls" else unit.fill,
            repeats=3, region_steps=20, twins=torch.cat(controls[: len(own)]) if own else None,
            controls=torch.cat(controls) if controls else None,
        )  # fmt: skip
        self.people = list(patients)

    def _held_out(self, run: RunRecord) -> tuple[dict[str, Any], dict[str, Any]]:
        """Patients of the test part, and the healthy of test and validation: item and scan by participant."""
        groups: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        for part in ("test", "validation"):
            for item, scan in self._first.scans(part):
                patient = item["label"] == 1
                if part == "test" or not patient:
                    groups[0 if patient else 1].setdefault(item["participant_id"], (item, scan))
        return groups

    def told_apart(self) -> float:
        """Return the area under the ROC curve by which the first network tells held-out patients and healthy apart."""
        patients, healthy = self.held_out
        with torch.no_grad():
            scores = [float(log_odds(self.networks[0](scan), self.test.target)) for scan in (*patients, *healthy)]
        true = np.arange(len(scores)) < len(patients)
        return float(weighted_areas(true, np.array(scores), np.ones((1, len(scores))))[0])

    def _mean_control(self) -> Tensor:
        """Return the mean of healthy training scans, (1, *grid)."""
        first = self._first
        found = [scan for _, scan in islice(first.scans("training", first.classes[0]), MOST)]
        if not found:
            raise InputError(f"{first.run.cohort}: no training scan of class {first.classes[0]!r} can be read")
        return torch.cat(found).mean(0)

    def maker(self, spec: Mapping[str, Any]) -> Callable[[nn.Module], Any]:
        """Return what makes a method for any network."""
        name, options = str(spec["method"]), dict(spec.get("options") or {})
        if ":" in name:
            return partial(own_method(name), **options)
        if attribution.takes_regions(name):
            options.setdefault("labels", self.atlas)
        asked = attribution.complete(name, options).get("baselines")
        if isinstance(asked, str) and asked in FROM_CONTROLS:
            options["baselines"] = self._first.controls.baselines(asked, self.atlas.positions())
        return partial(Claiming, name, options)


class Claiming:
    """A method, with what its maps claim to add up to, where they do."""

    def __init__(self, name: str, options: Mapping[str, Any], model: nn.Module) -> None:
        self._name, self._options, self._model = name, options, model
        self._method: Any = attribution.create(name, model, **options)
        self.attribute = self._method.attribute
        if attribution.takes_start(name):
            self.explained = self._start
        elif name in _ADD_UP:
            self.explained = self._difference

    def _start(self, inputs: Tensor, target: int) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self._model(inputs)
        if self._method.start_for(inputs.shape) == "logit":  # the network's last layer decides
            return logits[:, target]
        shares = torch.sigmoid(logits) if logits.shape[1] == 1 else probabilities(logits)
        return shares[:, target]

    def _difference(self, inputs: Tensor, target: int) -> Tensor:
        with torch.no_grad():
            found = []
            for scan in inputs:
                references = references_of(scan[None], self._options.get("baselines", "zero"))
                found.append(self._model(scan[None])[0] - self._model(torch.cat(references)).mean(0))
        return torch.stack(found)[:, target]


def own_method(path: str) -> Callable[..., Any]:
    """Import a captum Attribution by ``package.module:Class``; importing executes the module's code.

    Raises
    ------
    InputError
        If it is not there, or has no `attribute`.
    """
    try:
        found = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"method {path!r} cannot be imported ({error}); expected package.module:Class of an installed package"
        ) from None
    if not callable(found) or not hasattr(found, "attribute"):
        raise InputError(f"method {path!r} has no attribute(), expected a class such as captum's Attribution")
    return found  # type: ignore[no-any-return]


def _twins(patients: Mapping[str, Any], healthy: Mapping[str, Any], run: RunRecord) -> list[str]:
    """Name each patient's twin among the healthy; none at all where one has none."""
    items = load_datalist(Path(run.datalist), "test", Path(run.cohort))
    twin = {str(item["participant_id"]): item.get(TWIN) for item in items}
    healthy_of = {twin[name]: name for name in healthy if twin.get(name)}
    found = [healthy_of.get(twin.get(name)) for name in patients]
    return [name for name in found if name] if all(found) else []


def truth_on(item: Mapping[str, Any], run: RunRecord, space: Any, source: Path) -> NDArray[np.bool_] | None:
    """Return a patient's truth on the network's grid; of a prepared scan by way of the preparation's map."""
    scan = Path(item["image"])
    path, native = truth_file(scan, item["participant_id"], item.get("session_id"), run.lesions), None
    if path is None and source != Path(run.cohort):
        native = native_of(scan)
        before = sorted((source / item["participant_id"]).rglob(f"{item['participant_id']}_*desc-effect_mask.nii.gz"))
        path = before[0] if native is not None and len(before) == 1 else mask_beside(scan)
    if path is None:
        return None
    mask = io.read_labels(path)
    if native is None:
        found = mask_in_space(mask, space)
    else:
        mask = mask.__class__(mask.data.astype(np.float32), mask.space)
        found = native.mapping.carry(mask, space).data >= 0.5
    return found if found.any() else None


@lru_cache(maxsize=1)
def opened(unit: Unit) -> Opened:
    """Open a unit; a worker keeps the last."""
    return Opened(unit)


def digest_values(unit: Unit) -> Sequence[Any]:
    """Return all that decides what is measured of a unit but the methods."""
    weights = [Path(unit.bundle) / "models" / "model.pt"] if unit.bundle else []
    runs = [Path(folder).name for folder in unit.runs]
    weighed = [io.sha256(path) for path in weights]
    return [runs, unit.arm, unit.scans, unit.fill, weighed, atlas_contents([unit.atlas])]
