from __future__ import annotations

import hashlib

import pytest

from neuroxai.cohort.seen import SeenScans, seen_record, worst


@pytest.fixture
def cohort(tmp_path):
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-a\n")
    items = []
    for name in "abc":
        (tmp_path / f"{name}.nii").write_text(f"scan of {name}")
        items.append({"image": str(tmp_path / f"{name}.nii"), "participant_id": f"sub-{name}"})
    return tmp_path, items


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_scans_are_known_by_their_content_whatever_their_name(cohort):
    folder, (a, b, _) = cohort
    record = seen_record({"training": [a], "validation": [b]})
    assert record == {
        "training_participants": ["sub-a"],
        "validation_participants": ["sub-b"],
        "scans_sha256": {"training": [digest("scan of a")], "validation": [digest("scan of b")]},
    }
    seen = SeenScans(record, folder)
    assert seen.part("sub-of-another-name", digest("scan of a")) == "training"
    assert seen.part("sub-b", digest("scan of b")) == "validation"
    assert seen.part("sub-c", digest("scan of c")) == "held out"


def test_another_scan_of_the_same_person_is_known_by_the_name_in_the_same_cohort(cohort):
    folder, (a, b, _) = cohort
    record = seen_record({"training": [a], "validation": [b]})
    record["settings"] = {"participants_sha256": digest("participants.tsv of another cohort")}
    # two cohorts may both have a sub-a: nothing tells
    assert SeenScans(record, folder).part("sub-a", digest("second visit")) == "unknown"
    record["settings"] = {"participants_sha256": digest("participant_id\nsub-a\n")}
    assert SeenScans(record, folder).part("sub-a", digest("second visit")) == "training"
    assert SeenScans(record, folder).part("a", digest("second visit")) == "training"
    assert SeenScans(record, folder).part("sub-b", digest("second visit")) == "validation"
    assert SeenScans(record, None).part("sub-a", digest("second visit")) == "unknown"


def test_records_from_before_scans_were_noted_know_names(cohort):
    folder, _ = cohort
    seen = SeenScans({"training_participants": ["sub-a"]}, folder)
    assert seen.part("sub-a", digest("scan of a")) == "training"
    assert seen.part("sub-c", digest("scan of c")) == "held out"
    assert SeenScans({}, folder).part("sub-c", digest("scan of c")) == "unknown"
    # an untrained network has seen nobody
    assert SeenScans({"training_participants": []}, folder).part("sub-a", None) == "held out"


def test_of_several_scans_the_worst_holds():
    assert worst(["held out", "training", "unknown"]) == "training"
    assert worst(["held out", "unknown"]) == "unknown"
    assert worst(["held out", "validation"]) == "validation"
    assert worst(["held out", "of a newer version"]) == "unknown"
    assert worst([]) == "unknown"
