"""What is to be prepared: found, named, or refused in one sentence."""

import nibabel as nib
import numpy as np
import pytest

from helpers.prepared import prepared_record
from neuroxai import io
from neuroxai.derivatives.prepared import check_source, write_record
from neuroxai.errors import InputError
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.records import inputs_of, output_files
from neuroxai.preprocess.sources import SingleScan, Source, find_sources
from neuroxai.space import Space, Volume


def scan_at(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_volume(path, Volume(np.arange(8, dtype=np.float32).reshape(2, 2, 2), Space((2, 2, 2), np.eye(4))))
    return path


@pytest.fixture
def bids(tmp_path):
    for name in ("sub-1/ses-a/anat/sub-1_ses-a_FLAIR", "sub-1/ses-a/anat/sub-1_ses-a_T1w", "sub-2/anat/sub-2_FLAIR"):
        scan_at(tmp_path / f"{name}.nii.gz")
    return tmp_path


def test_flair_finds_the_t1w_of_its_session(bids):
    sources, left = find_sources(bids, "FLAIR")
    assert [s.title for s in sources] == ["sub-1 ses-a", "sub-2"]
    assert sources[0].t1w == bids / "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz"
    assert sources[1].t1w is None
    assert left == []
    (t1w,), _ = find_sources(bids, "T1w")
    assert t1w.t1w is None


def test_several_t1w_for_one_flair_are_told(bids):
    scan_at(bids / "sub-1/ses-a/anat/sub-1_ses-a_run-2_T1w.nii.gz")
    with pytest.raises(InputError, match="several scans match"):
        find_sources(bids, "FLAIR")


def test_runs_are_chosen_or_kept_apart_with_the_t1w_of_each(bids):
    for suffix in ("FLAIR", "T1w"):
        for run in ("1", "10", "9"):
            scan_at(bids / f"sub-3/anat/sub-3_run-{run}_{suffix}.nii.gz")
    scan_at(bids / "sub-4/anat/sub-4_FLAIR.nii.gz")
    for run in "12":
        scan_at(bids / f"sub-4/anat/sub-4_run-{run}_T1w.nii.gz")
        scan_at(bids / f"sub-5/anat/sub-5_run-{run}_FLAIR.nii.gz")
    scan_at(bids / "sub-5/anat/sub-5_T1w.nii.gz")
    chosen = {"first": "1", "last": "10"}
    for run, number in chosen.items():
        sources, left = find_sources(bids, "FLAIR", run=run)
        (three,) = [s for s in sources if s.participant_id == "sub-3"]
        assert (three.session_id, three.scan.name) == (None, f"sub-3_run-{number}_FLAIR.nii.gz")
        assert three.t1w.name == f"sub-3_run-{number}_T1w.nii.gz"
        assert left == []
    sources, left = find_sources(bids, "FLAIR", run="all")
    found = {s.title: None if s.t1w is None else s.t1w.name for s in sources}
    assert found == {
        "sub-1 ses-a": "sub-1_ses-a_T1w.nii.gz",
        "sub-2": None,
        **{f"sub-3 run-{run}": f"sub-3_run-{run}_T1w.nii.gz" for run in ("1", "9", "10")},
        **{f"sub-5 run-{run}": "sub-5_T1w.nii.gz" for run in "12"},
    }
    assert [one.participant_id for one in left] == ["sub-4"]  # one FLAIR, two T1w: which, is not known
    # without a choice those of several runs are left out, and nobody else
    sources, left = find_sources(bids, "FLAIR")
    assert [s.title for s in sources] == ["sub-1 ses-a", "sub-2"]
    assert {one.participant_id for one in left} == {"sub-3", "sub-4", "sub-5"}
    mask = scan_at(bids / "masks/sub-3_run-9.nii.gz")
    (nine,), _ = find_sources(bids, "FLAIR", run="all", mask=str(bids / "masks/{participant}{session}_{run}.nii.gz"))
    assert (nine.title, nine.mask) == ("sub-3 run-9", mask)


def test_a_t1w_that_is_not_fetched_is_told_and_the_flair_not_prepared_alone(tmp_path):
    scan_at(tmp_path / "sub-1/anat/sub-1_FLAIR.nii.gz")
    (tmp_path / "sub-1/anat/sub-1_T1w.nii.gz").symlink_to(tmp_path / "annex")
    with pytest.raises(InputError, match="is a link to a file that is not there"):
        find_sources(tmp_path, "FLAIR")


def test_results_of_runs_lie_side_by_side(tmp_path):
    options, seen = PrepareOptions(), set()
    for run in ("run-1", "run-2", None):
        for session in ("ses-a", None):
            who = Source("sub-1", "_".join(filter(None, (session, run))) or None, tmp_path / "scan.nii.gz")
            files = output_files(tmp_path, who, options)
            folder = tmp_path / "sub-1" / (session or "") / "anat"
            assert {path.parent for path in files.values()} == {folder, tmp_path / "figures"}
            assert (str(run) in files["record"].name) == (run is not None)
            seen |= set(files.values())
    assert len(seen) == 6 * len(files)


def test_a_scan_of_the_same_name_does_not_take_anothers_place(tmp_path):
    one, two = scan_at(tmp_path / "sub-1_acq-a_T1w.nii.gz"), scan_at(tmp_path / "sub-1_acq-b_T1w.nii.gz")
    record = write_record(tmp_path / "r.json", prepared_record(sources={"scan": str(one)}, inputs={"scan": "1"}))
    check_source(record, one, {"scan": "2"})  # has changed
    check_source(record, two, {"scan": "1"})  # was copied
    with pytest.raises(InputError, match=r"acq-b.* result of another scan of this name.*acq-a.*--participant"):
        check_source(record, two, {"scan": "2"})
    copied = scan_at(tmp_path / "copy" / one.name)
    check_source(record, copied, {"scan": "2"})  # has changed in a copy of the cohort
    plain = [scan_at(tmp_path / folder / "T1.nii.gz") for folder in "ab"]
    write_record(record, prepared_record(sources={"scan": str(plain[0])}, inputs={"scan": "1"}))
    with pytest.raises(InputError, match="another scan of this name"):
        check_source(record, plain[1], {"scan": "2"})
    plain[0].unlink()
    check_source(record, plain[1], {"scan": "2"})  # was moved
    for damaged in ("[]", "{", '{"SourceFiles": 3}'):
        record.write_text(damaged)
        check_source(record, two, {"scan": "2"})


def test_axes_that_the_user_told_are_part_of_what_a_result_depends_on(tmp_path, monkeypatch):
    said = scan_at(tmp_path / "said.nii.gz")
    nib.save(nib.AnalyzeImage(np.zeros((2, 3, 4), np.float32), None), tmp_path / "old.img")
    monkeypatch.setenv("NEUROXAI_ORIENTATION", "las")
    old = inputs_of(Source("sub-1", None, tmp_path / "old.img"))
    assert old["orientation"] == {"scan": "LAS"}
    assert "orientation" not in inputs_of(Source("sub-1", None, said))
    monkeypatch.delenv("NEUROXAI_ORIENTATION")
    assert "orientation" not in inputs_of(Source("sub-1", None, tmp_path / "old.img"))


def test_masks_by_identifier(bids):
    scan_at(bids / "masks/sub-1_ses-a.nii.gz")
    sources, left = find_sources(bids, "FLAIR", mask=str(bids / "masks/{participant}_{session}.nii.gz"))
    assert [s.title for s in sources] == ["sub-1 ses-a"]
    assert left[0].participant_id == "sub-2"
    assert "no such brain mask" in left[0].reason


def test_a_person_without_file_of_lesions_has_none(bids):
    scan_at(bids / "lesions/sub-2.nii.gz")
    sources, _ = find_sources(bids, "FLAIR", lesions=str(bids / "lesions/{participant}.nii.gz"))
    assert [s.lesions is not None for s in sources] == [False, True]
    with pytest.raises(InputError, match="matches no file"):
        find_sources(bids, "FLAIR", lesions=str(bids / "nowhere/{participant}.nii.gz"))
    with pytest.raises(InputError, match=r"\{participant\}, \{session\} or \{run"):
        find_sources(bids, "FLAIR", lesions="{subject}.nii.gz")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("IXI012-HH T1.nii.gz", {}, ("sub-IXI012HHT1", None)),
        ("sub-7_ses-b_T1w.nii.gz", {}, ("sub-7", "ses-b")),
        ("sub-7_ses-b_run-2_T1w.nii.gz", {}, ("sub-7", "ses-b_run-2")),
        ("sub-7_run-1_T1w.nii.gz", {"participant": "9"}, ("sub-9", "run-1")),
        ("scan.nii.gz", {"participant": "9", "session": "ses-1"}, ("sub-9", "ses-1")),
    ],
)
def test_a_single_scan_is_named(tmp_path, name, options, expected):
    (source,), _ = find_sources(scan_at(tmp_path / name), single=SingleScan(**options))
    assert (source.participant_id, source.session_id) == expected


def test_refusals(bids, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        find_sources(tmp_path / "absent")
    with pytest.raises(InputError, match="is a cohort"):
        find_sources(bids, single=SingleScan("1"))
    with pytest.raises(InputError, match="is one file, no DICOM"):
        find_sources(bids / "sub-2/anat/sub-2_FLAIR.nii.gz", single=SingleScan(series="3"))
    with pytest.raises(InputError, match="not valid in BIDS"):
        find_sources(bids / "sub-2/anat/sub-2_FLAIR.nii.gz", single=SingleScan("a/../b"))
