"""Which method, held against which reference, finds the regions that a network uses? By the twin swap, on real scans.

    neuroxai simulate cohort --effect atrophy --from prepared/participants.tsv --healthy depr --healthy control --seed 1
    neuroxai split cohort folds --folds 5 --seed 1
    for k in 0 1 2 3 4; do
        cp -r bundles/brain_t1w_alzheimers_classification run$k
        neuroxai train run$k cohort --datalist folds/datalist_fold-$k.json --spacing 4 --seed $k --learning_rate .001 \
            --dropout 0 --normalisation zscore --max_shift 1 --min_epochs 25 --max_epochs 32 --key_metric roc_auc \
            --tensorboard false
    done
    python scripts/experiments/against_controls.py run0 run1 run2 run3 run4 --cohort cohort --folds folds --out against

Twins come in one batch (``--pair_by``, the default for such cohorts). Each held-out patient and each sham is explained
by each method and reference; the truth is the change of the logit (class 1 less class 0) when a region's voxels are
replaced by the own twin's: what `neuroxai.evaluation.swap_effects` gives, by the faster ``region_swap``. References are
made of each fold's training part. A scan's scores are written once (``fold-K/SUBJECT.tsv``), so that the same
command goes on after an interruption; ``--pairs`` and ``--methods`` measure fewer, and each row says of how many pairs
it is; ``--only`` shares folds out to processes. Written: ``patients.tsv``, ``shams.tsv`` and ``groups.tsv``, with 95 %
bootstrap intervals by subject, and seconds of one core per scan. Printed: all three as one table.
``own twin`` is the bound. ``healthy_twin`` knows
the change of the training's patients from their own twins, as no study does; for ``healthy_twin of others`` controls
and patients are different people, half as many of each. ``several controls`` are ten of the training part. ``other
patients`` looks at no scan: the mean fitted-control map of the fold's other patients less that of their shams.
``specific`` is what is left for the single patient: the overlap of the own map with what the network uses in the own
scan, less that of the other patients' maps. ``auc`` is the area under the curve of the voxels by which the twins differ
by a tenth of the largest difference or more, in the brain.
"""

from __future__ import annotations

import argparse
import copy
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from neuroxai import atlas, attribution
from neuroxai.attribution import ControlReference
from neuroxai.attribution.baselines import FROM_CONTROLS
from neuroxai.cohort import load_datalist
from neuroxai.cohort.groups import TWIN
from neuroxai.evaluation.heatmaps.twin_swap import groups, single_scans, swap_agreement
from neuroxai.explain.bundle import open_workflow
from neuroxai.explain.controls import left_right
from neuroxai.io import read_tsv, write_tsv
from neuroxai.statistics import mean_interval

EFFECTS, SECONDS, AUC = "own twin's swap", "seconds", "auc"
STEPS, FEW = 5, 3  # of a path; of each of several
SEVERAL = 10
DIFFERENT = 0.1  # of the largest difference between twins
FITTED = "integrated_gradients, fitted_control"
OTHERS = "other patients"
UNPAIRED = "healthy_twin of others"
METHODS = [
    "lrp_epsilon", "lrp_epsilon, less the controls' mean map", "noise", "scan",
    *(f"integrated_gradients, {name}" for name in ("zero", "mean_control", "fitted_control", "healthy_twin", UNPAIRED)),
    "integrated_gradients, own twin",
    *(f"region_swap, {name}" for name in ("zero", "mean_control", "fitted_control", "healthy_twin", UNPAIRED)),
    *(f"deep_lift, {name}" for name in ("zero", "mean_control", "fitted_control", "healthy_twin", UNPAIRED)),
    *(f"{name}, nearest_controls" for name in ("integrated_gradients", "deep_lift", "region_swap")),
    "integrated_gradients, several controls", "gradient_shap, several controls",
    *(f"region_shapley, {name}" for name in ("fitted_control", "healthy_twin")),
]  # fmt: skip


class LogOdds(nn.Module):
    """A network of two classes as one score: the second one's logit less the first one's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, scans: Tensor) -> Tensor:
        """Return (batch, 1)."""
        logits = self.network(scans)
        score: Tensor = logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]
        return score


class Fold:
    """One network, its held-out twins and its training part."""

    def __init__(self, bundle: Path, datalist: Path, cohort: Path) -> None:
        self.test = load_datalist(datalist, "test", cohort)
        training = load_datalist(datalist, "training", cohort)
        items = [{"session_id": "", **item} for item in (*self.test, *training)]
        flow = open_workflow(bundle, ["inference.json"], scans=tuple(items), accept_unfit=True)
        scans = torch.stack([found["image"].as_tensor() if hasattr(found["image"], "as_tensor") else found["image"]
                             for found in flow.dataset])  # fmt: skip
        self.scans, learnt = scans[: len(self.test)], scans[len(self.test) :]
        space = flow.parser.get_parsed_content("space")
        self.regions = atlas.builtin(space)
        self.network = LogOdds(flow.parser.get_parsed_content("network")).eval()
        ill, twins = np.array([i["label"] for i in training]) == 1, np.array([str(i[TWIN]) for i in training])
        half = np.isin(twins, sorted(set(twins))[::2])
        self.controls = learnt[~ill]
        side = left_right(space)
        self.reference = ControlReference.of(self.controls, space.spacing, True, learnt[ill], side)
        self.unpaired = ControlReference.of(learnt[~ill & half], space.spacing, False, learnt[ill & ~half], side)
        self._mean_map: Tensor | None = None
        self._made: dict[str, tuple[Tensor, Tensor, float]] = {}

    def pairs(self) -> Iterator[tuple[str, int, int]]:
        """Give each held-out scan's name, its number and its twin's."""
        for number, item in enumerate(self.test):
            twin = next(n for n, other in enumerate(self.test) if n != number and other[TWIN] == item[TWIN])
            yield str(item["participant_id"]), number, twin

    def heatmap(self, method: str, x: Tensor, twin: Tensor) -> tuple[Tensor, float]:
        """Return a method's map of one scan (1, 1, x, y, z), whose sum over a region is its score; and seconds."""
        name, *given = method.split(", ", 1)
        reference, made = self._baselines(given[0], x, twin) if given else (None, 0.0)
        begun = time.process_time()
        found = self._map(name, given, reference, x)
        return found, time.process_time() - begun + made

    def _map(self, name: str, given: list[str], reference: Any, x: Tensor) -> Tensor:
        if name in ("noise", "scan"):
            drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(int(x.double().abs().sum())))
            return drawn if name == "noise" else x
        if name == "lrp_epsilon":
            # in double precision: a score near 0 is a difference of logits too inexact for the check of the record
            made = attribution.create(name, copy.deepcopy(self.network).double())
            found: Tensor = made.attribute(x.double(), target=0, start="logit")
            if given:
                if self._mean_map is None:
                    maps = [made.attribute(one[None].double(), target=0, start="logit") for one in self.controls]
                    self._mean_map = torch.cat(maps).mean(0, keepdim=True)
                found = found - self._mean_map
            return found
        options: dict[str, Any] = {"baselines": reference}
        if name == "integrated_gradients":
            options["n_steps"] = FEW if given[0] in ("nearest_controls", "several controls") else STEPS
        if name == "region_shapley":
            options["n_samples"] = 2
        if attribution.takes_regions(name):
            options["labels"] = self.regions
        if name == "region_swap":
            options["density"] = True
        shown: Tensor = attribution.create(name, self.network, **options).attribute(x, target=0)
        return shown

    def _baselines(self, name: str, x: Tensor, twin: Tensor) -> tuple[Any, float]:
        """Return what a name stands for, and the seconds that it took for this scan, made once for all methods."""
        if name == "several controls":
            return list(self.controls[:: -(-len(self.controls) // SEVERAL)]), 0.0
        if name == "own twin":
            return twin[0], 0.0
        if name not in (UNPAIRED, *FROM_CONTROLS) or name == "mean_control":
            return (self.reference.mean if name == "mean_control" else name), 0.0
        if name not in self._made or self._made[name][0] is not x:
            whose = self.unpaired if name == UNPAIRED else self.reference
            source: Any = whose.baselines("healthy_twin" if name == UNPAIRED else name, self.regions.positions())
            begun = time.process_time()
            self._made[name] = (x, source(x), time.process_time() - begun)
        _, images, seconds = self._made[name]
        return list(images[:, 0]), seconds


def summed(heatmap: Tensor, labels: NDArray[Any]) -> NDArray[Any]:
    """Return a map's sum over each region."""
    values = heatmap.detach().double().numpy().ravel()
    sums: NDArray[Any] = np.bincount(labels.ravel(), weights=values, minlength=int(labels.max()) + 1)[1:]
    return sums


def area(heatmap: Tensor, x: Tensor, twin: Tensor) -> float:
    """Return the area under the curve of the voxels by which twins differ."""
    away = (x - twin).abs()
    brain = (x != 0) | (twin != 0)
    return float(roc_auc_score((away > DIFFERENT * away.max())[brain], heatmap.detach()[brain]))


def measured(
    bundle: Path, datalist: Path, cohort: Path, folder: Path, methods: Sequence[str], pairs: int | None = None
) -> None:
    """Write the scores by the methods that are not there yet, of the held-out scans of the first pairs."""
    test = load_datalist(datalist, "test", cohort)
    chosen = sorted({str(item[TWIN]) for item in test})[:pairs]
    paths = {who: folder / f"{who}.tsv" for who in (str(i["participant_id"]) for i in test if i[TWIN] in chosen)}
    if not any(missing(path, methods) for path in paths.values()):
        return
    fold = Fold(bundle, datalist, cohort)
    for who, number, twin in fold.pairs():
        # looked at when its turn comes: another process may have been there
        if who not in paths or not (left := missing(paths[who], methods)):
            continue
        path = paths[who]
        table = read_tsv(path).set_index("region").astype(float) if path.is_file() else pd.DataFrame(
            index=pd.Index([*fold.regions.names.values(), SECONDS, AUC], name="region"))  # fmt: skip
        x, other = fold.scans[number : number + 1], fold.scans[twin : twin + 1]
        for name in left:
            found, spent = fold.heatmap("region_swap, own twin" if name == EFFECTS else name, x, other)
            table[name] = [*summed(found, fold.regions.positions()), spent, area(found, x, other)]
        write_tsv(path, table.reset_index())
        print(f"{folder.name} {who}: {len(left)} methods", flush=True)


def missing(path: Path, methods: Sequence[str]) -> list[str]:
    """Return the methods that a scan's file lacks."""
    there = set(read_tsv(path).columns) if path.is_file() else set()
    return [name for name in (EFFECTS, *methods) if name not in there]


def gathered(out: Path, cohort: Path, folds: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Return the three tables of all scans that are written, each method's of the pairs, two or more, that have it."""
    pairs: list[tuple[int, tuple[pd.DataFrame, pd.DataFrame]]] = []  # fold; sham and patient
    for number, datalist in enumerate(folds):
        twins: dict[str, dict[int, pd.DataFrame]] = {}
        for item in load_datalist(datalist, "test", cohort):
            path = out / f"fold-{number}" / f"{item['participant_id']}.tsv"
            if path.is_file():
                table = read_tsv(path).set_index("region").astype(float)
                twins.setdefault(str(item[TWIN]), {})[item["label"]] = table
        pairs += [(number, (both[0], both[1])) for _, both in sorted(twins.items()) if len(both) == 2]
    alike: dict[tuple[int, ...], list[str]] = {}
    for name in METHODS:
        having = tuple(n for n, (_, both) in enumerate(pairs) if all(name in table for table in both))
        if len(having) > 1:
            alike.setdefault(having, []).append(name)
    parts = [compared([pairs[n] for n in having], methods) for having, methods in alike.items()]
    order = [*METHODS, OTHERS]
    return {
        name: pd.concat([part[name] for part in parts]).sort_index(key=lambda rows: rows.map(order.index))
        for name in parts[0]
    }


def compared(
    pairs: Sequence[tuple[int, tuple[pd.DataFrame, pd.DataFrame]]], methods: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return the three tables of some pairs' methods."""
    networks = [fold for fold, _ in pairs]
    values = [{name: np.stack([both[label][name].drop([SECONDS, AUC]) for _, both in pairs])
               for name in (EFFECTS, *methods)} for label in (0, 1)]  # fmt: skip
    effects = [found.pop(EFFECTS) for found in values]
    seconds = {name: float(np.mean([both[1].loc[SECONDS, name] for _, both in pairs])) for name in methods}
    areas = {name: mean_interval(np.array([both[1].loc[AUC, name] for _, both in pairs])) for name in methods}
    alone = min(networks.count(fold) for fold in networks) == 1
    if FITTED in methods and not alone:
        for k, fold in enumerate(networks):
            same = [n for n, other in enumerate(networks) if other == fold and n != k]
            away = values[1][FITTED][same].mean(0) - values[0][FITTED][same].mean(0)
            for found in values:
                found.setdefault(OTHERS, np.zeros_like(found[FITTED]))[k] = away
        seconds[OTHERS] = 0.0
    tables = {
        "patients": single_scans(values[1], effects[1]),
        "shams": single_scans(values[0], effects[0]),
        "groups": groups({n: v for n, v in values[1].items() if n != OTHERS}, values[0], effects[1], networks),
    }
    if not alone:
        tables["patients"] = tables["patients"].join(specific(values[1], effects[1], networks))
    for part, key in (("value", AUC), ("low", f"{AUC}_low"), ("high", f"{AUC}_high")):
        found_areas = {name: getattr(interval, part) for name, interval in areas.items()}
        tables["patients"][key] = [found_areas.get(str(name), np.nan) for name in tables["patients"].index]
    for table in tables.values():
        table["seconds"] = [seconds[str(name)] for name in table.index]
        table["pairs"] = len(networks)
    return tables


def specific(scores: dict[str, NDArray[Any]], effects: NDArray[Any], folds: Sequence[int]) -> pd.DataFrame:
    """Return by method how much more the own map overlaps with what is used in a scan than other patients' maps do."""
    rows = {}
    for name, own in scores.items():
        overlaps = np.array([[swap_agreement(map_, effect)["overlap"] for map_ in own] for effect in effects])
        beside = np.equal.outer(folds, folds) & ~np.eye(len(folds), dtype=bool)
        found = mean_interval(overlaps.diagonal() - (overlaps * beside).sum(1) / beside.sum(1))
        rows[name] = {"specific": found.value, "specific_low": found.low, "specific_high": found.high}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float)


def markdown(tables: dict[str, pd.DataFrame]) -> str:
    """Return the three tables as one, a line a method."""
    patients, shams, of_groups = (tables[name] for name in ("patients", "shams", "groups"))

    def told(table: pd.DataFrame, name: str, key: str) -> str:
        row = table.loc[name].to_dict() if name in table.index else {}
        if np.isnan(row.get(key, np.nan)):
            return ""
        low, high = row[f"{key}_low"], row[f"{key}_high"]  # none where all scans have one value
        within = "" if np.isnan(low) else f" ({low:.2f} to {high:.2f})"
        return re.sub(r"(?<!\d)0\.", ".", f"{row[key]:.2f}{within}")

    lines = [
        "| | rho | top | overlap | specific | overlap, shams | voxels' area | overlap, patients less their shams | s "
        "| pairs |",
        "|---" * 10 + "|",
    ]
    for name in patients.index:
        cells = [told(patients, name, key) for key in ("rho", "top", "overlap", "specific")]
        cells[0] = cells[0].split(" ")[0]
        cells += [told(shams, name, "overlap").split(" ")[0], told(patients, name, AUC).split(" ")[0]]
        cells += [told(of_groups, name, "overlap"), f"{patients.loc[name, 'seconds']:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {patients.loc[name, 'pairs']} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, help="trained bundles, one a fold, in the folds' order")
    parser.add_argument("--cohort", type=Path, required=True, help="of `neuroxai simulate --from`")
    parser.add_argument("--folds", type=Path, required=True, help="folder of `neuroxai split --folds`")
    parser.add_argument("--out", type=Path, default=Path("against"))
    parser.add_argument("--only", nargs="+", type=int, help="numbers of the folds to measure here [default: all]")
    parser.add_argument("--pairs", type=int, help="first pairs of each fold that are explained [default: all]")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="METHOD")
    given = parser.parse_args(arguments)
    folds = sorted(given.folds.glob("datalist_fold-*.json"))[: len(given.bundles)]
    for number, (bundle, datalist) in enumerate(zip(given.bundles, folds, strict=True)):
        if number in (given.only or range(len(folds))):
            measured(bundle, datalist, given.cohort, given.out / f"fold-{number}", given.methods, given.pairs)
    tables = gathered(given.out, given.cohort, folds)
    for name, table in tables.items():
        write_tsv(given.out / f"{name}.tsv", table.reset_index())
    print(markdown(tables))


if __name__ == "__main__":
    main()
