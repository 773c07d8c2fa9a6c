"""The store of scans: what is the user's is only read, what was sent is kept for the time told and no longer."""

from __future__ import annotations

import gzip
import io as streams

import numpy as np
import pytest

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.label_app import scans as module
from neuroxai.label_app.scans import ScanStore, TakenNameError, UnknownScanError, UnreadableScanError, scans_of
from neuroxai.space import Space, Volume

SPACE = Space((4, 5, 6), np.diag([2.0, 2, 2, 1]))


def content(tmp_path, value=1.0, dtype=np.float32) -> bytes:
    data = np.arange(120, dtype=np.float32).reshape(SPACE.shape) * value
    return io.write_volume(tmp_path / "made.nii.gz", Volume(data, SPACE), dtype=dtype).read_bytes()


def sending(data: bytes, name: str = "Smith_John.nii.gz"):
    return [(name, streams.BytesIO(data))]


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "sub-1_T1w.nii.gz").write_bytes(content(tmp_path))
    return ScanStore(scans_of(folder), tmp_path / "sent")


def lying(tmp_path):
    return [path for path in (tmp_path / "sent").rglob("*") if path.is_file()]


def test_a_bids_cohort_is_listed_by_the_names_of_its_files(tiny_cohort):
    found = scans_of(tiny_cohort)
    assert len(found) == 20
    path = found["sub-16_desc-brain_T1w"]
    assert path == tiny_cohort / "sub-16" / "anat" / "sub-16_desc-brain_T1w.nii.gz"


def test_folders_without_scans_and_names_that_stand_twice_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no NIfTI scan"):
        scans_of(tmp_path)
    for ending in (".nii", ".nii.gz"):
        (tmp_path / f"one{ending}").write_bytes(b"x")
    with pytest.raises(InputError, match="two scans are named one"):
        scans_of(tmp_path)


def test_what_is_sent_lies_under_names_that_say_nothing_until_the_session_ends(store, tmp_path):
    identifier = store.open_session(sending(content(tmp_path)))
    path = store.path(identifier, "session")
    assert "Smith" not in str(path)
    assert path.read_bytes() == content(tmp_path)
    with pytest.raises(UnknownScanError):
        store.path(identifier)  # a session is no image
    store.close_session(identifier)
    assert lying(tmp_path) == []
    with pytest.raises(UnknownScanError, match="no such session"):
        store.close_session(identifier)


def test_what_is_sent_is_removed_after_the_time_told(store, tmp_path, monkeypatch):
    store.add("other", sending(content(tmp_path, 3)))
    identifier = store.open_session(sending(content(tmp_path)))
    assert store.list_images() == ["other", "sub-1_T1w"]
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.KEPT_FOR - 1)
    store.path("other")  # asked for again: its time begins anew
    monkeypatch.setattr(module.time, "time", lambda: now + module.KEPT_FOR + 1)
    store.sweep()
    assert store.list_images() == ["other", "sub-1_T1w"]
    with pytest.raises(UnknownScanError):
        store.path(identifier, "session")
    assert len(lying(tmp_path)) == 1


def test_a_scan_of_the_user_is_never_replaced(store, tmp_path):
    path = store.path("sub-1_T1w")
    before = path.read_bytes(), path.stat().st_mtime_ns
    store.add("sub-1_T1w", sending(content(tmp_path, dtype=np.int16)))  # the same scan, saved anew by a viewer
    with pytest.raises(TakenNameError, match="stays as it is"):
        store.add("sub-1_T1w", sending(content(tmp_path, 2)))
    assert store.path("sub-1_T1w") == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert lying(tmp_path) == []


def test_what_was_sent_under_a_name_is_replaced_by_what_is_sent_later(store, tmp_path):
    store.add("mine", sending(content(tmp_path, 2)))
    store.add("mine", sending(content(tmp_path, 3)))
    assert store.path("mine").read_bytes() == content(tmp_path, 3)
    assert len(lying(tmp_path)) == 1


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "a\nb", "x" * 201])
def test_names_that_are_none_are_refused(store, tmp_path, name):
    with pytest.raises(InputError, match="1 to 200 letters"):
        store.add(name, sending(content(tmp_path)))


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "%2e%2e", ".."])
def test_names_are_no_paths(store, tmp_path, name):
    store.add(name, sending(content(tmp_path)))
    assert store.path(name).parent.parent == tmp_path / "sent"
    with pytest.raises(UnknownScanError):
        store.path(f"{name}x")


@pytest.mark.parametrize("name", ["a.nii", "A.NII.GZ"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_scan_is_packed_or_not_whatever_its_name_says(store, tmp_path, name, packed):
    data = content(tmp_path)
    store.add("mine", sending(data if packed else gzip.decompress(data), name))
    np.testing.assert_array_equal(io.read_volume(store.path("mine")).data.ravel(), np.arange(120))


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "scan.nii.gz", "is empty"),
        (b"brain", "scan.mgz", "neither a file named .nii, .nii.gz or .nrrd nor DICOM"),
        (b"brain", "..", "neither"),
        (b"", "x.dcm", "is empty"),
    ],
)
def test_what_is_no_scan_is_refused_and_removed(store, tmp_path, data, name, reason):
    with pytest.raises(UnreadableScanError, match=reason):
        store.open_session(sending(data, name))
    assert lying(tmp_path) == []


HEADER = {
    "type": "int16",
    "dimension": 3,
    "space": "left-posterior-superior",
    "sizes": "4 5 6",
    "space directions": "(2,0.5,0) (0,-3,0) (0.2,0,4)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "gzip",
    "space origin": "(10,20,-30)",
}
VOXELS = np.arange(120, dtype="<i2").tobytes()


def nrrd(changes=None, voxels=VOXELS) -> bytes:
    """As 3D Slicer writes a scan; fields that are None are left out."""
    header = {key: value for key, value in {**HEADER, **(changes or {})}.items() if value is not None}
    lines = "".join(f"{key}: {value}\n" for key, value in header.items())
    return f"NRRD0004\n{lines}\n".encode() + (gzip.compress(voxels) if header["encoding"] == "gzip" else voxels)


@pytest.mark.label
@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_a_scan_sent_as_nrrd_becomes_nifti_at_the_same_place(store, tmp_path, encoding):
    """By hand: LPS axes change sign in x and y; voxel (1, 2, 3) lies at 10 + 2 + 0.6, 20 + 0.5 - 6, -30 + 12 there."""
    store.add("mine", sending(nrrd({"encoding": encoding}), "Smith_John.NRRD"))
    path = store.path("mine")
    assert path.name == "scan.nii.gz"
    volume = io.read_volume(path)
    np.testing.assert_allclose(volume.space.world(np.array([[1, 2, 3]])), [[-12.6, -14.5, -18]], atol=1e-5)
    assert volume.data[1, 2, 3] == 1 + 4 * 2 + 20 * 3  # the first axis runs fastest
    assert lying(tmp_path) == [path]


@pytest.mark.label
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"brain", "no NRRD scan that can be read"),
        (nrrd({"data file": "/etc/passwd"}), "in one file"),
        (nrrd({"line skip": 10**18}), "in one file"),
        (nrrd({"encoding": "ascii"}), "encoding is 'ascii'"),
        (nrrd({"sizes": "4 5 7"}), "can be read"),
        (nrrd({"sizes": "4 5 99999999999"}), "can be read"),
        (nrrd({"sizes": "120", "dimension": 1}), "1 axes"),
        (nrrd({"space directions": None}), "can be read"),
        (nrrd({"space directions": "(0,0,0) (0,0,0) (0,0,0)"}), "cannot be inverted"),
        (nrrd({"space": "scanner-xyz"}), "space is 'scanner-xyz'"),
        (nrrd({"space units": '"m" "m" "m"'}), "expected mm"),
        (nrrd()[:-40], "can be read"),
    ],
)
def test_what_is_no_nrrd_scan_is_refused_and_removed(store, tmp_path, data, reason):
    with pytest.raises(UnreadableScanError, match=reason):
        store.open_session(sending(data, "scan.nrrd"))
    assert lying(tmp_path) == []
