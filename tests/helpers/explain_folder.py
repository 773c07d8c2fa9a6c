"""An explain output folder as the file formats have it: small asymmetric grids, planted effect, no network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from neuroxai.io import write_json, write_volume
from neuroxai.space import Space, Volume

SHAPE = (12, 14, 12)
AFFINE = np.array([[4.0, 0, 0, -20], [0, 4, 0, -30], [0, 0, 4, -18], [0, 0, 0, 1]])
NETWORK = Space(SHAPE, AFFINE)
METHOD, LABEL = "lrp_alpha_beta", "lrpAlphaBeta"
# (participant, session, true, predicted, probability of AD)
PEOPLE = [
    ("sub-0001", "", "AD", "AD", 0.9),
    ("sub-0002", "", "AD", "AD", 0.8),
    ("sub-0003", "", "AD", "CN", 0.3),
    ("sub-0004", "", "CN", "CN", 0.2),
    ("sub-0005", "", "CN", "CN", 0.1),
    ("sub-0006", "", "CN", "AD", 0.7),
]
EFFECT = np.zeros(SHAPE, dtype=bool)
EFFECT[2:4, 5:8, 3:5] = True


def brain() -> np.ndarray:
    """A lopsided brain: no two axes alike, and more of it on the right."""
    x, y, z = np.indices(SHAPE)
    inside = (x >= 1) & (x <= 10) & (y >= 1) & (y <= 12) & (z >= 1) & (z <= 10)
    return inside & (x + y + z < 30)


def write_scan_files(
    out: Path, cohort: Path, person: tuple, number: int, masks: bool, orientation: str, native: bool, patient: bool
) -> None:
    participant, session, true, predicted, probability = person
    rng = np.random.default_rng(number)
    parts = [p for p in (participant, session) if p]
    stem = "_".join(parts)
    scan = Volume(np.where(brain(), 100 + 20 * rng.random(SHAPE), 0).astype(np.float32), NETWORK)
    relevance = np.where(brain(), 0.1 * rng.normal(1, 0.5, SHAPE), 0)
    relevance[EFFECT] += 0.5 if patient else 0.05
    heatmap = Volume(relevance.astype(np.float32), NETWORK)
    source = Path(*parts, "anat", f"{stem}_space-MNI152_res-4_desc-brain_T1w.nii.gz")
    stored = scan.reoriented(orientation)
    write_volume(cohort / source, stored)
    if masks:
        own = EFFECT & brain()
        own[2, 5, 3] &= number % 2 == 0
        write_volume(
            cohort / source.with_name(f"{stem}_space-MNI152_res-4_desc-effect_mask.nii.gz"),
            Volume((own if patient else np.zeros(SHAPE)).astype(np.uint8), NETWORK).reoriented(orientation),
            dtype=np.uint8,
        )
    folder = out.joinpath(*parts, "anat")
    sidecar = {
        "method": METHOD,
        "options": {"beta": 0.0},
        "target": "AD",
        "score": 1.5,
        "probability": probability,
        "predicted": predicted,
        "true": true,
        "source": source.as_posix(),
        "source_folder": str(cohort),
        "checkpoint_sha256": "ab" * 32,
        "bundle": "brain_t1w",
        "versions": {"neuroxai": "0.1.0", "torch": "2.13.0"},
        "ResearchUse": "For research use only.",
    }
    base = f"{stem}_space-network_desc-{LABEL}"
    write_volume(folder / f"{base}_heatmap.nii.gz", heatmap)
    write_json(folder / f"{base}_heatmap.json", {**sidecar, "space": NETWORK.to_dict()})
    if native:
        write_volume(folder / f"{stem}_space-orig_desc-{LABEL}_heatmap.nii.gz", heatmap.reoriented(orientation))
        write_json(
            folder / f"{stem}_space-orig_desc-{LABEL}_heatmap.json", {**sidecar, "space": stored.space.to_dict()}
        )
    lines = ["index\tname\tsum\tabsolute\tpositive\tnegative\tdensity\tvoxels"]
    halves = {"Left half": np.arange(12)[:, None, None] < 6, "Right half": np.arange(12)[:, None, None] >= 6}
    for index, (name, where) in enumerate([*halves.items(), ("Effect, 100 % <planted>", EFFECT)], 1):
        values = relevance[np.broadcast_to(where, SHAPE) & brain()].astype(np.float64)
        positive, negative = values[values > 0].sum(), values[values < 0].sum()
        lines.append(
            f"{index}\t{name}\t{values.sum():.8g}\t{np.abs(values).sum():.8g}\t{positive:.8g}\t{negative:.8g}"
            f"\t{values.mean():.8g}\t{values.size}"
        )
    lines.append("4\tAbsent nucleus\t0\t0\t0\t0\tn/a\t0")
    (folder / f"{base}_regions.tsv").write_text("\n".join(lines) + "\n")


def write_explain_folder(
    root: Path,
    people=PEOPLE,
    masks: bool = False,
    labels: bool = True,
    orientation: str = "LPS",
    native: bool = True,
    record: bool = True,
) -> Path:
    """Write cohort and explain output below `root`; return the explain output."""
    out, cohort = root / "explained", root / "cohort"
    out.mkdir(parents=True)
    cohort.mkdir()
    table = ["participant_id\tsession_id\ttrue\tpredicted\tprobability_CN\tprobability_AD\tscore"]
    participants = ["participant_id\tdiagnosis\thippocampus_loss_percent"]
    for number, person in enumerate(people):
        participant, session, true, predicted, probability = person
        patient = true == "AD"
        write_scan_files(out, cohort, person, number, masks, orientation, native, patient)
        table.append(
            f"{participant}\t{session or 'n/a'}\t{true if labels else 'n/a'}\t{predicted}"
            f"\t{1 - probability:.8g}\t{probability}\t1.5"
        )
        participants.append(f"{participant}\t{true}\t{20 + number if patient else 0}")
    (out / "predictions.tsv").write_text("\n".join(table) + "\n")
    (cohort / "participants.tsv").write_text("\n".join(dict.fromkeys(participants)) + "\n")
    if record:
        facts = {
            "method": METHOD,
            "options": {"beta": 0.0},
            "target": "AD",
            "classes": ["CN", "AD"],
            "bundle": "brain_t1w",
            "dataset_dir": str(cohort),
            "datalist": "datalist.json",
            "part": "test",
            "atlas": "builtin",
            "space": NETWORK.to_dict(),
            "failed": [],
            "versions": {"neuroxai": "0.1.0"},
        }
        (out / "explain.json").write_text(json.dumps(facts))
    return out
