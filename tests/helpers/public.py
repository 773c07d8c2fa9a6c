"""Folders laid out as public cohorts are: OASIS as nilearn fetches it, ADNI as BIDS and as Clinica's CAPS."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroxai import io
from neuroxai.space import Volume, mni152

SPACE = mni152(8)


def scan(path, value=1.0):
    data = np.zeros(SPACE.shape, np.float32)
    data[3:9, 3:9, 3:9] = value
    io.write_volume(path, Volume(data, SPACE))
    return path


def oasis_folder(folder):
    """What nilearn's fetcher would have left for its first eight subjects."""
    from nilearn.datasets.struct import oasis_missing_subjects

    missing = {*oasis_missing_subjects(), 27}
    numbers = [n for n in range(1, 30) if n not in missing][:8]
    root = folder / "oasis1"
    rows = []
    for place, n in enumerate(numbers):
        name = f"OAS1_{n:04d}_MR1"
        for kind in ("mwrc1", "mwrc2"):
            scan(root / name / f"{kind}{name}_mpr_anon_fslswapdim_bet.nii.gz", 0.5)
        rating = ["", "0", "0.5", "0", "1", "0", "2", "0"][place]
        rows.append([name, "FM"[place % 2], "R", 60 + place, 3, 2, 27, rating, 1500, 0.8, 1.2, ""])
    columns = ["ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "oasis_cross-sectional.csv", index=False)
    (root / "data_usage_agreement.txt").write_text("terms")
    return folder


def bids(folder):
    """Clinica's BIDS: three subjects, one of whom converts; names of sessions padded in either way."""
    visits = {
        "sub-ADNI002S0295": [("ses-M000", "CN", 84.8), ("ses-M012", "AD", 85.8)],
        "sub-ADNI002S0413": [("ses-M00", "CN", 76.3)],
        "sub-ADNI002S0619": [("ses-M006", "MCI", 77.5), ("ses-M024", "AD", 79.0)],
    }
    for who, rows in visits.items():
        lines = ["session_id\tdiagnosis\tage"]
        for session, diagnosis, age in rows:
            scan(folder / who / session / "anat" / f"{who}_{session}_T1w.nii.gz")
            lines.append(f"{session}\t{diagnosis}\t{age}")
        (folder / who / f"{who}_sessions.tsv").write_text("\n".join(lines) + "\n")
    (folder / "participants.tsv").write_text(
        "participant_id\tsex\nsub-ADNI002S0295\tM\nsub-ADNI002S0413\tF\nsub-ADNI002S0619\tM\n"
    )
    return folder


MERGE = """PTID, VISCODE ,DX,AGE,PTGENDER
002_S_0295,bl,CN,84.8,Male
002_S_0295,m12,Dementia,84.8,Male
"002_S_0413",bl,CN,76.3,Female
002_S_0619,m06,MCI,77,Male
002_S_0619,m24,Dementia,77,Male
002_S_0619,m30,,77,Male
002_S_0999,bl,CN,70,Female
002_S_0295,uns1,CN,84.8,Male
"""


def caps(folder):
    for who, session in (
        ("sub-ADNI002S0295", "ses-M000"),
        ("sub-ADNI002S0295", "ses-M012"),
        ("sub-ADNI002S0619", "ses-M024"),
    ):
        place = folder / "subjects" / who / session / "t1_linear"
        for crop in ("", "_desc-Crop"):
            scan(place / f"{who}_{session}_space-MNI152NLin2009cSym{crop}_res-1x1x1_T1w.nii.gz")
    return folder
