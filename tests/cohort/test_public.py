"""Public cohorts from stand-ins of their layouts; nothing is fetched."""

from __future__ import annotations

import os

import pytest

from helpers.public import MERGE, bids, caps, oasis_folder, scan
from neuroxai import io
from neuroxai.cohort import label_scans, read_cohort, split_cohort
from neuroxai.cohort.public import adni_entries, oasis_entries, write_cohort
from neuroxai.cohort.public.adni import months_of
from neuroxai.errors import InputError

# --- OASIS


@pytest.fixture
def nilearn_data(tmp_path):
    return oasis_folder(tmp_path / "nilearn")


def test_oasis_is_labelled_by_its_rating_and_can_be_split(nilearn_data, tmp_path):
    entries, left_out = oasis_entries(8, nilearn_data)
    assert left_out == {"without a dementia rating": 1}
    out = tmp_path / "oasis"
    summary = write_cohort(out, entries, left_out, [], {"Name": "x"}, {"source": "oasis1"})
    assert summary.classes == {"AD": 3, "CN": 4}
    table = io.read_tsv(out / "participants.tsv")
    assert table["cdr"].tolist() == [0, 0.5, 0, 1, 0, 2, 0]
    assert table["sex"].tolist() == list("MFMFMFM")
    assert table["participant_id"][0].startswith("sub-OAS1")
    labelled = label_scans(read_cohort(out, suffix="probseg"), "diagnosis", ["CN", "AD"])
    (datalist,) = split_cohort(labelled)
    assert {len(datalist[part]) > 0 for part in ("training", "validation", "test")} == {True}
    image = out / datalist["training"][0]["image"]
    assert image.stat().st_nlink == 2  # no second copy of gigabytes


def test_oasis_is_never_fetched_unasked(tmp_path, nilearn_data, monkeypatch):
    with pytest.raises(InputError, match="add --download"):
        oasis_entries(8, tmp_path / "absent")
    with pytest.raises(InputError, match="in part only"):
        oasis_entries(9, nilearn_data)  # the ninth is not there
    with pytest.raises(InputError, match="expected 2 or more"):
        oasis_entries(1, nilearn_data)


def test_a_failing_fetch_is_one_line(tmp_path, monkeypatch):
    def fails(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("nilearn.datasets.fetch_oasis_vbm", fails)
    with pytest.raises(InputError, match=r"could not be fetched \(OSError: no route to host\)"):
        oasis_entries(4, tmp_path, download=True)


# --- ADNI


def rows_of(entries):
    return {
        (e.participant_id, e.session_id): (e.columns["diagnosis"], e.columns["age"], e.columns["sex"]) for e in entries
    }


def test_bids_with_its_own_sessions(tmp_path):
    entries, left_out, absent = adni_entries(bids(tmp_path / "bids"))
    assert rows_of(entries) == {
        ("sub-ADNI002S0295", "ses-M000"): ("CN", 84.8, "M"),
        ("sub-ADNI002S0295", "ses-M012"): ("AD", 85.8, "M"),
        ("sub-ADNI002S0413", "ses-M00"): ("CN", 76.3, "F"),
        ("sub-ADNI002S0619", "ses-M024"): ("AD", 79.0, "M"),
    }
    assert left_out == {"with diagnosis MCI": 1}
    assert absent == []


def test_adnimerge_labels_the_same_scans_alike(tmp_path):
    (tmp_path / "ADNIMERGE.csv").write_text(MERGE)
    entries, left_out, _ = adni_entries(bids(tmp_path / "bids"), tmp_path / "ADNIMERGE.csv")
    own, *_ = adni_entries(tmp_path / "bids")
    assert {k: (v[0], v[2]) for k, v in rows_of(entries).items()} == {k: (v[0], v[2]) for k, v in rows_of(own).items()}
    assert rows_of(entries)["sub-ADNI002S0619", "ses-M024"][1] == 79.0  # age at baseline and 24 months
    assert left_out == {"with diagnosis MCI": 1}


def test_caps_takes_the_whole_field_of_view(tmp_path):
    (tmp_path / "ADNIMERGE.csv").write_text(MERGE)
    entries, _, _ = adni_entries(caps(tmp_path / "caps"), tmp_path / "ADNIMERGE.csv")
    assert len(entries) == 3
    assert not [e for e in entries if "Crop" in e.name]
    out = tmp_path / "adni"
    write_cohort(out, entries, {}, [], {"Name": "x"}, {"source": "adni"})
    cohort = read_cohort(out)
    assert cohort.scans["diagnosis"].tolist() == ["CN", "AD", "AD"]
    assert cohort.scans["session_id"].tolist() == ["ses-M000", "ses-M012", "ses-M024"]


@pytest.mark.parametrize(
    ("text", "months"), [("ses-M00", 0), ("ses-M000", 0), ("ses-M006", 6), ("M120", 120), ("bl", 0), ("m06", 6)]
)
def test_months(text, months):
    assert months_of(text) == months


def test_what_cannot_be_read_is_told(tmp_path):
    folder = bids(tmp_path / "bids")
    table = tmp_path / "ADNIMERGE.csv"
    with pytest.raises(InputError, match="names no month"):
        months_of("ses-baseline")
    with pytest.raises(InputError, match="no such folder"):
        adni_entries(tmp_path / "absent")
    with pytest.raises(InputError, match="no scan has diagnosis 'SMC'; there are AD, CN"):
        adni_entries(folder, diagnoses=["CN", "AD", "SMC"])
    table.write_text(MERGE.replace("DX", "DIAG"))
    with pytest.raises(InputError, match="column 'DX' is absent"):
        adni_entries(folder, table)
    table.write_text(MERGE + "002_S_0295,bl,MCI,84.8,Male\n")
    with pytest.raises(InputError, match="stands twice with different values"):
        adni_entries(folder, table)
    with pytest.raises(InputError, match="no sub-"):
        adni_entries(caps(tmp_path / "caps"))
    (tmp_path / "caps2" / "subjects").mkdir(parents=True)
    with pytest.raises(InputError, match="run Clinica's t1-linear"):
        adni_entries(tmp_path / "caps2", table)


def test_a_broken_scan_is_told_and_the_others_go_on(tmp_path):
    folder = bids(tmp_path / "bids")
    broken = folder / "sub-ADNI002S0413/ses-M00/anat/sub-ADNI002S0413_ses-M00_T1w.nii.gz"
    broken.write_bytes(b"no image")
    entries, left_out, absent = adni_entries(folder)
    summary = write_cohort(tmp_path / "out", entries, left_out, absent, {}, {"source": "adni"})
    assert summary.scans == 3
    assert len(summary.failed) == 1
    assert "sub-ADNI002S0413 ses-M00" in summary.failed[0]
    assert not list((tmp_path / "out").rglob("*.tmp.*"))
    # mended and run again
    scan(broken)
    assert write_cohort(tmp_path / "out", entries, left_out, absent, {}, {"source": "adni"}).failed == []
    with pytest.raises(InputError, match="was made with source"):
        write_cohort(tmp_path / "out", entries, {}, [], {}, {"source": "oasis1"})
    with pytest.raises(InputError, match="no scan is left"):
        write_cohort(tmp_path / "none", [], {"with diagnosis MCI": 2}, [], {}, {})
    assert not (tmp_path / "none").exists()


def test_links_that_lead_nowhere_are_told(tmp_path):
    folder = bids(tmp_path / "bids")
    image = folder / "sub-ADNI002S0413/ses-M00/anat/sub-ADNI002S0413_ses-M00_T1w.nii.gz"
    image.unlink()
    os.symlink("/nowhere/at/all", image)
    entries, _, absent = adni_entries(folder)
    assert len(entries) == 3
    assert "fetch the data first" in str(absent[0])


def test_the_command(tmp_path, monkeypatch):
    from helpers.command import run

    bids(tmp_path / "bids")
    monkeypatch.chdir(tmp_path)
    result = run("cohort", "adni", "bids", "out")
    assert result.code == 0, result
    assert len(read_cohort(tmp_path / "out").scans) == 4
    assert not (tmp_path / "out" / "out").exists()
    assert "4 scans (2 AD, 2 CN)" in result.out
    assert "left out: 1 scans with diagnosis MCI" in result.err
    assert run("cohort", "oasis", tmp_path / "oasis", "--data", tmp_path).code == 2
