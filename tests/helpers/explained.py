"""The tables that ``neuroxai explain`` writes, without networks and heatmaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuroxai.derivatives.heatmap_names import method_label
from neuroxai.derivatives.heatmaps import ScanFiles
from neuroxai.io import write_json

METHOD = "lrp_alpha_beta"
REGIONS = ("Left Hippocampus", "Right Hippocampus", "Left Amygdala", "Thalamus", "Insula", "Absent nucleus")
VOXELS = np.array([40, 42, 20, 90, 70, 0])


def write_tables(
    root: Path,
    controls: int = 14,
    patients: int = 12,
    seed: int = 0,
    sessions: int = 1,
    effect: float = 4.0,
    prefix: str = "sub-",
    seen: str | dict[str, str] = "held out",
    **record,
) -> Path:
    """Write a cohort's participants.tsv and the explain output's tables; patients have more relevance in regions 0, 1.

    All densities have a control mean of 10 and a spread of 1; age adds .1 a year beyond 70 to region 3. `seen` is what
    the network had seen of the scans, of all or by participant (the others are held out).
    """
    rng = np.random.default_rng(seed)
    out, cohort = root / "explained", root / "cohort"
    out.mkdir(parents=True)
    cohort.mkdir()
    people, predictions = ["participant_id\tdiagnosis\tage\tsex"], []
    header = "participant_id\tsession_id\ttrue\tpredicted\tprobability_CN\tprobability_AD\tscore\tseen"
    for number in range(controls + patients):
        name, patient = f"{prefix}{number:03d}", number >= controls
        age = round(rng.uniform(60, 80), 1)
        people.append(f"{name}\t{'AD' if patient else 'CN'}\t{age}\t{'FM'[number % 2]}")
        for session in [f"ses-{k + 1}" for k in range(sessions)] if sessions > 1 else [None]:
            density = 10 + rng.normal(size=len(REGIONS))
            density[:2] += effect * patient
            density[3] += 0.1 * (age - 70)
            probability = 0.5 + 0.49 * (1 if patient else -1) * rng.uniform(0.7, 1)
            label = "AD" if patient else "CN"
            row = [name, session or "n/a", label, label, 1 - probability, probability, 1]
            row.append(seen if isinstance(seen, str) else seen.get(name, "held out"))
            predictions.append("\t".join(map(str, row)))
            write_regions(out, name, session, density)
    (cohort / "participants.tsv").write_text("\n".join(people) + "\n")
    (out / "predictions.tsv").write_text("\n".join([header, *predictions]) + "\n")
    facts = {"method": METHOD, "options": {"beta": 0.0}, "explained": 1, "checkpoint_sha256": "ab", "atlas": "builtin"}
    write_json(out / "explain.json", {**facts, "classes": ["CN", "AD"], "dataset_dir": str(cohort), **record})
    return out


def regions_path(out: Path, name: str, session: str | None = None) -> Path:
    """Where a scan's region table lies."""
    return ScanFiles(out, name, session or "", method_label(METHOD)).regions


def write_regions(out: Path, name: str, session: str | None, density, regions=REGIONS) -> None:
    """Write one scan's region table."""
    lines = ["index\tname\tsum\tabsolute\tpositive\tnegative\tdensity\tvoxels"]
    for index, (region, value, voxels) in enumerate(zip(regions, density, VOXELS, strict=True), 1):
        total = float(value) * int(voxels)
        cells = [index, region, total, abs(total), max(total, 0), min(total, 0), value if voxels else "n/a", voxels]
        lines.append("\t".join(str(cell) for cell in cells))
    path = regions_path(out, name, session)
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
