"""Test whether a reference of healthy controls flags what was planted in patients, and nothing else.

Takes an explained held-out part of a simulated cohort. Half of its controls, drawn at random, make a reference; the
other half and the patients are compared with it, on both scales (scores, and their logarithms). A region is *planted*
where at least half of it lies in the mean truth mask (mean over its voxels of the share of patients whose mask covers
the voxel), *touched* where more than 1 % does, *free* otherwise. Written to --out:

- ``sensitivity.tsv``: each scale and region: how many patients and how many other controls have q <= .05 there (false
  discovery rate within the person), with 95 % Wilson intervals, and how many of them have more than expected there;
  then the same for one region or more of a kind. From the first draw;
- ``calibration.tsv``: each scale and level: the judged controls' share of regions with p at most the level, which
  should be the level, and the share of them with a region of q at most the level, which should not be above it. Means
  over the draws and people, with 95 % bootstrap intervals over people (n/a where all are alike);
- ``calibration.png``: the latter as a picture::

    python scripts/experiments/normative.py explained cohort --datalist cohort/datalist.json --out normative
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai.cohort import load_datalist
from neuroxai.compare.figures import calibration_figure
from neuroxai.compare.scores import MEASURES, CohortScores, read_scores
from neuroxai.derivatives.explain_folder import ExplainFolder, read_folder
from neuroxai.errors import InputError, LeakageError
from neuroxai.evaluation import mask_in_space
from neuroxai.explain.scores import atlas_of
from neuroxai.io import atomic, read_labels, write_tsv
from neuroxai.report.cohort.truth import mask_beside
from neuroxai.space import Space
from neuroxai.statistics import Reference, mean_interval, wilson
from neuroxai.statistics.design import SCALES, Scale
from neuroxai.statistics.tables import percentiles_table

PLANTED, FREE, Q = 0.5, 0.01, 0.05
KINDS = ("planted", "touched", "free")
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def truth_shares(
    masks: Sequence[Path], labels: NDArray[np.int32], names: dict[int, str], space: Space
) -> pd.Series[float]:
    """Return each region's share of the mean truth mask on the network's grid; NaN for a region without a voxel."""
    mean = np.mean([mask_in_space(read_labels(path), space) for path in masks], axis=0)
    size = max(names) + 1
    total = np.bincount(labels.ravel(), weights=mean.ravel(), minlength=size)
    voxels = np.bincount(labels.ravel(), minlength=size)
    return pd.Series({name: total[k] / voxels[k] if voxels[k] else np.nan for k, name in names.items()})


def kind_of(share: float) -> str:
    """Name a region by its share of the truth."""
    return "planted" if share >= PLANTED else "touched" if share > FREE else "free"


def halves(controls: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Draw half of the controls (the larger half) for the reference; the others are judged."""
    drawn = [str(name) for name in np.random.default_rng(seed).permutation(sorted(controls))]
    middle = (len(drawn) + 1) // 2
    return sorted(drawn[:middle]), sorted(drawn[middle:])


def sensitivity(judged: pd.DataFrame, shares: pd.Series[float], patient: str, control: str) -> pd.DataFrame:
    """Count flagged people by region, then by kind of region; see the module."""
    known = judged[judged["p"].notna()]
    known = known.assign(
        flagged=known["q"] <= Q,
        above=(known["q"] <= Q) & (known["z"] > 0),
        kind=known["region"].map(lambda name: kind_of(shares[name])),
    )
    rows: list[dict[str, Any]] = []
    present = [str(name) for name in known["region"].unique()]
    for name in sorted(present, key=lambda region: -float(shares[region])):
        share, table = float(shares[name]), known[known["region"] == name]
        rows.append({"region": name, "kind": kind_of(share), "truth_share": share, **_rates(table, patient, control)})
    for kind in (*KINDS, "any"):
        part = known if kind == "any" else known[known["kind"] == kind]
        if part.empty:
            continue
        people = part.groupby("participant_id").agg({"class": "first", "flagged": "any", "above": "any"})
        rows.append({"region": "one or more", "kind": kind, "truth_share": np.nan, **_rates(people, patient, control)})
    return pd.DataFrame(rows)


def _rates(table: pd.DataFrame, patient: str, control: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, group in (("patients", patient), ("controls", control)):
        own = table[table["class"] == group]
        count = int(own["flagged"].sum())
        low, high = wilson(count, len(own))
        found |= {name: len(own), f"{name}_flagged": count, f"{name}_above": int(own["above"].sum())}
        found |= {f"{name}_rate": count / len(own), f"{name}_low": low, f"{name}_high": high}
    return found


def calibration(draws: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Compare how often judged controls stand out with how often they should; see the module.

    Parameters
    ----------
    draws : sequence of pandas.DataFrame
        Of the judged controls of each draw, one row a person and region: participant_id, region, p, q.
    """
    rows = []
    for level in LEVELS:
        people = [
            table[table["p"].notna()]
            .assign(alarms=lambda t: t["p"] <= level, flagged=lambda t: t["q"] <= level)  # noqa: B023  # run at once
            .groupby("participant_id")
            .agg({"alarms": "mean", "flagged": "any"})
            for table in draws
        ]
        mean = pd.concat(people).astype(float).groupby(level=0).mean()
        found = mean_interval(mean.to_numpy())
        row = {"level": level, "people": len(mean), "draws": len(draws)}
        for k, name in enumerate(("regions", "people")):
            row |= {f"{name}_rate": float(found.value[k]), f"{name}_low": float(found.low[k])}
            row |= {f"{name}_high": float(found.high[k])}
        rows.append(row)
    return pd.DataFrame(rows)


def held_out(folder: ExplainFolder, scores: CohortScores, datalist: Path, cohort: Path) -> list[Path]:
    """Refuse people that the network was trained or tuned on; return the truth masks of the explained patients."""
    items = {item.participant_id for item in folder.items}
    for part in ("training", "validation"):
        seen = items & {str(item["participant_id"]) for item in load_datalist(datalist, part, cohort)}
        if seen:
            raise LeakageError(f"{min(seen)} is in the {part} part of {datalist}; explain the test part alone")
    masks = []
    for item in load_datalist(datalist, "test", cohort):
        who = str(item["participant_id"])
        if who in scores.people.index and scores.people["class"][who] == folder.positive:
            mask = mask_beside(Path(item["image"]))
            if mask is None:
                raise InputError(f"{item['image']}: no truth mask beside it; use a cohort of `neuroxai simulate`")
            masks.append(mask)
    if not masks:
        raise InputError(f"{folder.path}: no explained patient of class {folder.positive} in the test part")
    return masks


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment and print the main figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("explained", type=Path, help="output folder of `neuroxai explain --part test`")
    parser.add_argument("cohort", type=Path, help="folder of `neuroxai simulate`")
    parser.add_argument("--datalist", type=Path, required=True, help="of `neuroxai split`, as the network was trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measure", choices=MEASURES, default="share")
    parser.add_argument("--atlas", default="builtin", help="that of the explain run")
    parser.add_argument("--labels", help="names of the atlas's regions")
    parser.add_argument("--draws", type=int, default=20, help="halves drawn for calibration.tsv")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of controls")
    given = parser.parse_args(arguments)

    folder = read_folder(given.explained, needed="regions")
    scores = read_scores(folder, given.cohort / "participants.tsv", None, given.measure)
    masks = held_out(folder, scores, given.datalist, given.cohort)
    space = folder.record.grid
    if space is None:
        raise InputError(f"{folder.path}: explain.json names no grid, expected network_space; explain again")
    atlas = atlas_of(given.atlas, given.labels).resampled_to(space)
    shares = truth_shares(masks, atlas.labels, dict(atlas.names), space)
    if set(shares.index) != set(scores.voxels.index):
        raise InputError(f"{folder.path}: regions are not those of {given.atlas}; give the atlas of the explain run")

    patient = folder.positive
    control = next(name for name in folder.classes if name != patient)
    controls = [str(name) for name in scores.people.index[scores.people["class"] == control]]
    patients = [str(name) for name in scores.people.index[scores.people["class"] == patient]]
    draws = [halves(controls, given.seed + number) for number in range(given.draws)]
    tables: dict[str, list[pd.DataFrame]] = {"sensitivity": [], "calibration": []}
    for scale in SCALES:
        first = _compared(scores, *draws[0], patients, scale=scale)
        if first is None:
            continue
        others = [_compared(scores, *draw, scale=scale) for draw in draws]
        own = sensitivity(first, shares, patient, control)
        observed = calibration([table for table in others if table is not None])
        tables["sensitivity"].append(own.assign(scale=scale))
        tables["calibration"].append(observed.assign(scale=scale))
        print(
            f"\n{scale}: {len(draws[0][0])} controls as reference, {len(draws[0][1])} others, {len(patients)} patients"
        )
        shown = own[(own["kind"] == "planted") | (own["region"] == "one or more") | (own["patients_rate"] >= 0.25)]
        print(shown.round(3).to_string(index=False))
        print(observed.round(3).to_string(index=False))
    for name, parts in tables.items():
        write_tsv(given.out / f"{name}.tsv", pd.concat(parts, ignore_index=True))
    with atomic(given.out / "calibration.png") as temporary:
        temporary.write_bytes(calibration_figure(pd.concat(tables["calibration"], ignore_index=True)))


def _compared(scores: CohortScores, reference: list[str], *judged: list[str], scale: Scale) -> pd.DataFrame | None:
    """Compare people with the reference; None, and a line, where the scores do not suit the scale."""
    try:
        norm = Reference.fit(scores.densities.loc[reference], scores.people.loc[reference], scale=scale)
    except InputError as error:
        if scale == "linear":
            raise
        print(f"{scale}: left out: {error}")
        return None
    found, failed = percentiles_table(norm, scores.densities.loc[[n for part in judged for n in part]], scores.people)
    for name, why in failed.items():
        print(f"failed: {name}: {why}")
    return found


if __name__ == "__main__":
    main()
