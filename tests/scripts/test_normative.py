"""The experiment on references of controls, on tables whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from experiments import normative
from helpers.explained import REGIONS, write_tables
from neuroxai import io
from neuroxai.errors import InputError, LeakageError
from neuroxai.space import Space, Volume
from neuroxai.statistics import wilson

SPACE = Space((12, 10, 2), np.diag([4.0, 4.0, 4.0, 1.0]))
CONTROLS, PATIENTS = 60, 20


@pytest.fixture
def explained(tmp_path):
    """Tables in which patients have more relevance in regions 0 and 1, and masks that cover 0, .6 of 1 and .1 of 2."""
    out = write_tables(tmp_path, controls=CONTROLS, patients=PATIENTS, effect=8.0, network_space=SPACE.to_dict())
    labels = np.zeros(SPACE.shape, dtype=np.int16)
    labels[:, :5] = np.repeat(np.arange(6), 2)[:, None, None]  # 20 voxels each, the sixth region absent
    io.write_volume(tmp_path / "atlas.nii.gz", Volume(labels, SPACE), dtype=np.int16)
    rows = [f"{k}\t{name}" for k, name in enumerate(REGIONS, 1)]
    (tmp_path / "atlas.tsv").write_text("\n".join(["index\tname", *rows]) + "\n")
    mask = np.zeros(SPACE.shape, dtype=np.uint8)
    mask[labels == 1] = 1
    mask.reshape(-1)[np.flatnonzero(labels == 2)[:12]] = 1
    mask.reshape(-1)[np.flatnonzero(labels == 3)[:2]] = 1
    datalist = {"training": [], "validation": [], "test": []}
    for number in range(CONTROLS + PATIENTS + 4):
        name, patient = f"sub-{number:03d}", number >= CONTROLS
        scan = tmp_path / "cohort" / name / "anat" / f"{name}_desc-brain_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        io.write_volume(scan, Volume(np.ones(SPACE.shape, np.float32), SPACE))
        own = mask if patient else np.zeros_like(mask)
        io.write_volume(scan.with_name(f"{name}_desc-effect_mask.nii.gz"), Volume(own, SPACE), dtype=np.uint8)
        part = ["training", "validation"][number % 2] if number >= CONTROLS + PATIENTS else "test"
        label = int(number % 4 < 2) if part != "test" else int(patient)
        datalist[part].append(
            {"image": str(scan.relative_to(tmp_path / "cohort")), "label": label, "participant_id": name}
        )
    datalist |= {"classes": ["CN", "AD"], "target": "diagnosis"}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist))
    return out


def run(explained, *more):
    root = explained.parent
    atlas = ("--atlas", str(root / "atlas.nii.gz"), "--labels", str(root / "atlas.tsv"))
    places = (str(explained), str(root / "cohort"), "--datalist", str(root / "datalist.json"))
    normative.main([*places, "--out", str(root / "out"), "--measure", "sum", "--draws", "8", *atlas, *more])
    return io.read_tsv(root / "out" / "sensitivity.tsv"), io.read_tsv(root / "out" / "calibration.tsv")


def test_planted_regions_are_flagged_and_the_others_are_not(explained):
    found, calibration = run(explained)
    for scale in ("linear", "log"):
        own = found[found["scale"] == scale].set_index("region")
        shares = own.loc[list(REGIONS[:5]), "truth_share"]
        np.testing.assert_allclose(shares, [1.0, 0.6, 0.1, 0.0, 0.0])
        assert own.loc[list(REGIONS[:5]), "kind"].tolist() == ["planted", "planted", "touched", "free", "free"]
        assert REGIONS[5] not in own.index  # it has no voxel
        assert (own.loc[list(REGIONS[:2]), "patients_rate"] > 0.9).all()
        assert (own.loc[list(REGIONS[2:5]), "patients_rate"] < 0.25).all()
        assert (own["patients"] == PATIENTS).all()
        assert (own["controls"] == CONTROLS // 2).all()
        for row in own.itertuples():
            assert (row.controls_low, row.controls_high) == pytest.approx(wilson(row.controls_flagged, row.controls))
    assert (calibration["people"] == CONTROLS).all()
    assert (found["patients_above"] <= found["patients_flagged"]).all()
    fifth = calibration[calibration["level"] == 0.05]
    assert ((fifth["regions_low"] <= 0.05) & (fifth["regions_high"] >= 0.05)).all()
    assert (explained.parent / "out" / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_the_counts_are_those_of_a_slow_loop():
    rng = np.random.default_rng(4)
    shares = pd.Series({"a": 0.7, "b": 0.2, "c": 0.0})
    rows = [
        {"participant_id": f"s{k}", "class": "AD" if k < 9 else "CN", "region": r, "p": p, "q": p, "z": 1 - 2 * (k % 2)}
        for k in range(30)
        for r, p in zip("abc", rng.uniform(0, 1, 3) ** 2, strict=True)
    ]
    table = pd.DataFrame(rows)
    found = normative.sensitivity(table, shares, "AD", "CN")
    for row in found.itertuples():
        inside = {"a": ["a"], "b": ["b"], "c": ["c"]}.get(row.region)
        inside = inside or {"planted": ["a"], "touched": ["b"], "free": ["c"], "any": ["a", "b", "c"]}[row.kind]
        for group, count in (("AD", row.patients_flagged), ("CN", row.controls_flagged)):
            people = {
                r["participant_id"] for r in rows if r["class"] == group and r["q"] <= 0.05 and r["region"] in inside
            }
            assert count == len(people)
        assert row.patients_above == len({r["participant_id"] for r in rows if _above(r) and r["region"] in inside})
    assert found["region"].tolist() == ["a", "b", "c", *["one or more"] * 4]
    controls = table[table["class"] == "CN"]
    other = controls[controls["participant_id"] != "s20"].assign(p=lambda t: t["p"] / 2, q=lambda t: t["q"] / 2)
    for row in normative.calibration([controls, other]).itertuples():
        alarms, flagged = [], []
        for who in sorted(set(controls["participant_id"])):
            own = [[r["p"] / k for r in rows if r["participant_id"] == who] for k in (1, 2) if (who, k) != ("s20", 2)]
            alarms.append(np.mean([np.mean([p <= row.level for p in draw]) for draw in own]))
            flagged.append(np.mean([min(draw) <= row.level for draw in own]))
        assert (row.regions_rate, row.people_rate) == pytest.approx((np.mean(alarms), np.mean(flagged)))
        assert row.regions_low < row.regions_rate < row.regions_high
        # everybody is flagged: a bootstrap knows no interval
        assert row.people_low < row.people_rate < row.people_high or row.people_rate == 1
        assert (row.people, row.draws) == (21, 2)


def _above(row):
    return row["class"] == "AD" and row["q"] <= 0.05 and row["z"] > 0


def test_no_one_is_in_both_halves():
    names = [f"sub-{k}" for k in range(21)]
    one, two = normative.halves(names, 3)
    assert (len(one), len(two)) == (11, 10)
    assert sorted(one + two) == sorted(names)
    assert normative.halves(names[::-1], 3) == (one, two)
    assert normative.halves(names, 4) != (one, two)


def test_people_of_the_training_are_refused(explained):
    path = explained.parent / "datalist.json"
    datalist = json.loads(path.read_text())
    datalist["training"].append(datalist["test"].pop(3))
    path.write_text(json.dumps(datalist))
    with pytest.raises(LeakageError, match="sub-003 is in the training part"):
        run(explained)


def test_a_patient_without_truth_is_refused(explained):
    next((explained.parent / "cohort" / "sub-070" / "anat").glob("*mask*")).unlink()
    with pytest.raises(InputError, match=r"sub-070.*no truth mask beside it"):
        run(explained)
