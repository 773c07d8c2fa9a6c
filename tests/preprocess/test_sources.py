"""What is to be prepared: found, named, or refused in one sentence."""

import numpy as np
import pytest

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.preprocess.sources import find_sources
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
    with pytest.raises(InputError, match=r"participant\} or \{session"):
        find_sources(bids, "FLAIR", lesions="{subject}.nii.gz")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("IXI012-HH T1.nii.gz", {}, ("sub-IXI012HHT1", None)),
        ("sub-7_ses-b_T1w.nii.gz", {}, ("sub-7", "ses-b")),
        ("scan.nii.gz", {"participant": "9", "session": "ses-1"}, ("sub-9", "ses-1")),
    ],
)
def test_a_single_scan_is_named(tmp_path, name, options, expected):
    (source,), _ = find_sources(scan_at(tmp_path / name), **options)
    assert (source.participant_id, source.session_id) == expected


def test_refusals(bids, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        find_sources(tmp_path / "absent")
    with pytest.raises(InputError, match="is a cohort"):
        find_sources(bids, participant="1")
    with pytest.raises(InputError, match="is one file, no DICOM"):
        find_sources(bids / "sub-2/anat/sub-2_FLAIR.nii.gz", series="3")
    with pytest.raises(InputError, match="not valid in BIDS"):
        find_sources(bids / "sub-2/anat/sub-2_FLAIR.nii.gz", participant="a/../b")
