"""Small cohorts written to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from neuroxai.io import write_text

Row = Sequence[object]


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Path]:
    """Write participants.tsv and empty files that bear the names of scans."""

    def make(rows: Sequence[Row], header: str = "participant_id diagnosis age sex", scans=None, name="cohort") -> Path:
        folder = tmp_path / name
        lines = ["\t".join(header.split()), *("\t".join("n/a" if v is None else str(v) for v in row) for row in rows)]
        write_text(folder / "participants.tsv", "\n".join(lines) + "\n")
        if scans is None:
            scans = [f"{row[0]}/anat/{row[0]}_T1w.nii.gz" for row in rows]
        for scan in scans:
            (folder / scan).parent.mkdir(parents=True, exist_ok=True)
            (folder / scan).touch()
        return folder

    return make


@pytest.fixture
def people() -> list[Row]:
    """60 subjects of two classes, both sexes, ages 55 to 90."""
    rng = np.random.default_rng(3)
    return [
        (f"sub-{i:04d}", ("CN", "AD")[i % 2], round(float(rng.uniform(55, 90)), 1), "FM"[int(rng.integers(2))])
        for i in range(60)
    ]
