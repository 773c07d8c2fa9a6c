"""What is no single, whole, even MR series is refused with the value got, the value expected and the way out."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402

from helpers.dicom import PATIENT, change, write_enhanced, write_series  # noqa: E402
from helpers.rights import rights_hold  # noqa: E402
from neuroxai.errors import InputError, SpaceError  # noqa: E402
from neuroxai.io import is_dicom, list_series, read_series  # noqa: E402
from neuroxai.io.dicom import is_series, left_out  # noqa: E402
from neuroxai.space import Space, Volume  # noqa: E402

SHAPE = (7, 6, 12)


def scan(shape=SHAPE, spacing=(1.0, 1.0, 2.0)):
    data = np.random.default_rng(1).integers(0, 900, shape).astype(np.int16)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-3.0, 5.0, 10.0)
    return Volume(data, Space(shape, affine))


@pytest.fixture
def files(tmp_path):
    """A sound series; the files in the order of its slices."""
    return write_series(tmp_path, scan())


def refused(tmp_path, message, kind=InputError):
    with pytest.raises(kind, match=message) as caught:
        read_series(tmp_path)
    text = str(caught.value)
    assert not [value for value in PATIENT.values() if len(value) > 2 and value in text]


# --- several series


def test_several_series_are_listed_and_refused_without_a_choice(tmp_path):
    first = write_series(tmp_path / "a", scan(), uid="1.2.1", SeriesNumber=3, SeriesDescription="t1_mprage")
    write_series(tmp_path / "b" / "c", scan((7, 6, 9)), uid="1.2.2", SeriesNumber=5, SeriesDescription="t2_flair")
    write_series(tmp_path / "d", scan((7, 6, 10)), uid="1.2.33", SeriesNumber=33, SeriesDescription="t2_tse")
    series = list_series(tmp_path)
    assert [(s.uid, s.number, s.description, s.modality, s.size) for s in series] == [
        ("1.2.1", 3, "t1_mprage", "MR", (7, 6, 12)),
        ("1.2.2", 5, "t2_flair", "MR", (7, 6, 9)),
        ("1.2.33", 33, "t2_tse", "MR", (7, 6, 10)),
    ]
    assert sorted(series[0].files) == sorted(first)
    refused(
        tmp_path,
        r"3 series, expected one.*\n  3: MR, TR 2300, TE 2\.98, TI 900 ms, "
        r"12 images of 7 x 6 in 12 files \(1\.2\.1\)\n",
    )
    for choice, slices in {"1.2.2": 9, 5: 9, "5": 9, "FLAIR": 9, 3: 12, "33": 10, "mprage": 12}.items():
        volume, facts = read_series(tmp_path, choice)
        assert volume.data.shape[2] == slices == facts["files"]
    for choice, count in {
        "t2": "2 of 3",
        "dwi": "none of 3",
        7: "none of 3",
        "": "none of 3",
        "1.2": "none of 3",
    }.items():
        with pytest.raises(InputError, match=f"fits {count}, expected one"):
            read_series(tmp_path, choice)
    # a folder of one series needs no choice, but a wrong one is wrong
    with pytest.raises(InputError, match="fits none of 1"):
        read_series(tmp_path / "a", 5)


def test_one_series_in_nested_folders_is_one(tmp_path, files):
    for k, file in enumerate(files):
        folder = tmp_path / "deep" / str(k % 3)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(file, folder / "I") if k < 3 else shutil.move(file, folder / f"I{k}")
    volume, facts = read_series(tmp_path)
    np.testing.assert_array_equal(volume.reoriented("RAS").data, scan().data)
    assert facts["skipped"] == 0


def test_files_may_be_given_one_by_one(tmp_path, files):
    volume, _ = read_series(files[::-1])
    np.testing.assert_array_equal(volume.reoriented("RAS").data, scan().data)
    with pytest.raises(InputError, match="empty list"):
        read_series([])
    with pytest.raises(InputError, match="no such file or folder"):
        read_series([*files, tmp_path / "absent"])


# --- files


def test_other_files_are_skipped_and_counted(tmp_path, files):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(os.urandom(500))
    shutil.copy(get_testdata_file("DICOMDIR", download=False), tmp_path / "DICOMDIR")
    shutil.copy(get_testdata_file("reportsi.dcm", download=False), tmp_path / "report.dcm")
    assert read_series(tmp_path)[1]["skipped"] == 5
    assert read_series(tmp_path)[1]["files"] == 12


@pytest.mark.parametrize("begin", [0, 132])
def test_files_without_the_mark_are_read(tmp_path, files, begin):
    """As older archives write them: from the first element on, with the file's group 2 or without any."""
    expected = read_series(tmp_path)[0]
    for file in files:
        if begin:
            file.write_bytes(file.read_bytes()[begin:])
        else:
            header = pydicom.dcmread(file)
            del header.file_meta, header.preamble
            header.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert file.read_bytes()[:1] in (b"\x02", b"\x08")
    found, facts = read_series(tmp_path)
    np.testing.assert_array_equal(found.data, expected.data)
    assert (facts["files"], facts["skipped"]) == (12, 0)
    assert is_dicom(tmp_path)


def test_a_damaged_mark_is_refused(tmp_path, files):
    files[11].write_bytes(files[11].read_bytes().replace(b"DICM", b"DIXM", 1))
    refused(tmp_path, f"{files[11].name}: the mark in bytes 129 to 132 is b'DIXM'")


@pytest.mark.parametrize("content", [b"", b"DICM", b"<html>not found</html>" * 20])
def test_what_is_named_as_a_slice_and_is_none_is_refused(tmp_path, files, content):
    # the last slice: without it, the stack is even
    files[11].write_bytes(content)
    refused(tmp_path, f"{files[11].name}: is named as the images beside it, but is no DICOM file")
    for number, file in enumerate(files):
        file.rename(tmp_path / f"x{'abcdefghijkl'[number]}.DCM")
    refused(tmp_path, "xl.DCM: is named as the images")
    # a Mac's remarks on files are none
    (tmp_path / "xl.DCM").rename(tmp_path / "._xl.DCM")
    assert read_series(tmp_path)[1]["skipped"] == 1


@pytest.mark.parametrize("kept", [slice(3, 12), slice(0, 9)])
def test_slices_missing_at_an_end_are_refused(tmp_path, kept):
    files = write_series(tmp_path, scan(), ImagesInAcquisition="12")
    for file in set(files) - set(files[kept]):
        file.unlink()
    refused(tmp_path, r"9 slices, numbered \d+ to \d+, of 12 by ImagesInAcquisition: 3 are missing at an end")


def test_slices_missing_at_the_beginning_are_seen_by_their_numbers(tmp_path, files):
    for file in files[:2]:
        file.unlink()
    refused(tmp_path, "10 slices, numbered 3 to 12: 2 are missing at an end")


def test_numbers_from_zero_or_backwards_are_whole(tmp_path, files):
    for number, file in enumerate(files):
        change(file, InstanceNumber=11 - number)
    assert read_series(tmp_path)[1]["files"] == 12


def test_what_is_left_out_is_said(tmp_path, files):
    (tmp_path / "README.TXT").write_text("hello")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    write_series(tmp_path / "localiser", scan((7, 6, 3)), uid="1.2.9", SeriesNumber=1)
    assert is_dicom(tmp_path)
    assert left_out(tmp_path, 3) == [
        "2 of 17 files, which hold no DICOM image: README.TXT, Thumbs.db",
        "series 1 (3 files, 1.2.9)",
    ]


def test_a_series_is_told_from_a_cohort(tmp_path):
    files = write_series(tmp_path / "a", scan())
    files[0].rename(files[0].with_name("sub-01.dcm"))
    write_series(tmp_path / "b" / "sub-01", scan())
    assert is_series(tmp_path / "a")
    assert is_series(tmp_path / "b")
    (tmp_path / "b" / "sub-01" / "sub-01_T1w.nii.gz").touch()
    assert not is_series(tmp_path / "b")
    assert not is_series(tmp_path / "absent")


def test_folders_without_a_series_are_refused(tmp_path):
    refused(tmp_path, "holds no file, expected a DICOM series")
    refused(tmp_path / "absent", "no such file or folder")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path, "none of 1 files is a DICOM image")
    refused(tmp_path / "notes.txt", "none of 1 files is a DICOM image")
    shutil.copy(get_testdata_file("DICOMDIR", download=False), tmp_path / "DICOMDIR")
    refused(tmp_path / "DICOMDIR", "index of DICOM files, expected the files; give the folder")
    with pytest.raises(InputError, match="none of 2 files"):
        list_series(tmp_path)


@pytest.mark.parametrize("length", [140, 200, 400, 700])
def test_a_header_cut_off_is_refused(tmp_path, files, length):
    files[5].write_bytes(files[5].read_bytes()[:length])
    refused(tmp_path, f"{files[5].name}: .*(cut off|damaged)")


def test_an_image_without_its_image_is_refused(tmp_path, files):
    whole = files[5].read_bytes()
    # the series is known, rows and columns (0028,0010) are not
    files[5].write_bytes(whole[: whole.index(b"\x28\x00\x10\x00US")])
    refused(tmp_path, f"{files[5].name}: the DICOM header is cut off")


@pytest.mark.parametrize("lost", [1, 20, 84, 95])
def test_pixels_cut_off_are_refused(tmp_path, files, lost):
    files[5].write_bytes(files[5].read_bytes()[:-lost])
    refused(tmp_path, f"{files[5].name}: .*(cut off|damaged)")


# the files end with 138 bytes of padding, which nobody misses
@pytest.mark.parametrize("lost", [200, 400, 2000])
@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_compressed_pixels_cut_off_are_refused(tmp_path, name, lost):
    from neuroxai.io.dicom.pixels import stored_pixels

    pytest.importorskip("itk")
    with open(get_testdata_file(name), "rb") as handle:
        (tmp_path / "cut.dcm").write_bytes(handle.read()[:-lost])
    with pytest.raises(InputError, match="has no pixels, is it cut off"):
        stored_pixels(tmp_path / "cut.dcm")


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_damage_within_a_compressed_image_is_refused(tmp_path, name):
    from pydicom.encaps import encapsulate, generate_frames

    from neuroxai.io.dicom.pixels import stored_pixels

    pytest.importorskip("itk")
    source = pydicom.dcmread(get_testdata_file(name, download=False))
    (whole,) = generate_frames(source.PixelData, number_of_frames=1)
    source.PixelData = encapsulate([whole[: len(whole) * 9 // 10]])
    source.save_as(tmp_path / "damaged.dcm")
    with pytest.raises(InputError, match="pixels are cut off or damaged"):
        stored_pixels(tmp_path / "damaged.dcm")


def test_pixels_stored_in_ways_not_known_are_refused_by_name(tmp_path, files):
    from pydicom.encaps import encapsulate

    for file in files:
        header = pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
        header.PixelData = encapsulate([bytes(84)])
        header["PixelData"].VR = "OB"
        header.save_as(file)
    refused(tmp_path, "pixels are stored as MPEG-4 AVC/H.264 High Profile .*, which is not decoded here")


def test_unreadable_files_are_refused(tmp_path, files):
    files[3].unlink()
    files[3].symlink_to(tmp_path / "elsewhere")
    refused(tmp_path, f"{files[3].name}: cannot be read .*No such file")


@rights_hold()
def test_locked_folders_are_refused(tmp_path, files):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0)
    try:
        refused(tmp_path, "locked: the folder cannot be read")
    finally:
        (tmp_path / "locked").chmod(0o700)


# --- places


def test_a_missing_slice_is_named(tmp_path, files):
    files[4].unlink()
    # the fifth slice lies at z = 10 + 4 * 2 mm, and in LPS x and y change sign; columns run to the left from x = 3
    refused(tmp_path, r"1 slices are missing, at \(-3, -10, 18\) mm .*LPS")
    files[5].unlink()
    files[8].unlink()
    refused(tmp_path, r"3 slices are missing, at \(-3, -10, 18\), \(-3, -10, 20\), \(-3, -10, 26\) mm")


def test_every_second_slice_missing_is_seen_by_number_and_spacing(tmp_path):
    files = write_series(tmp_path, scan((7, 6, 24)))
    for file in files[1::2]:
        file.unlink()
    refused(tmp_path, "numbers go in steps of 2, but SpacingBetweenSlices is 2")


def test_a_gap_between_thin_slices_is_no_missing_slice(tmp_path, files):
    # some scanners put the space between the slices' edges into SpacingBetweenSlices
    for file in files:
        change(file, SliceThickness="1", SpacingBetweenSlices="1")
    assert read_series(tmp_path)[0].space.spacing[2] == pytest.approx(2.0)


def test_uneven_spacing_is_refused(tmp_path, files):
    change(files[4], ImagePositionPatient=[-3, -10, 18.7])
    refused(tmp_path, r"1\.300 to 2\.700 mm apart, expected even steps", SpaceError)


def test_slices_out_of_line_or_leaning_are_refused(tmp_path, files):
    change(files[4], ImagePositionPatient=[-1.5, -10, 18])
    refused(tmp_path, r"1\.50 mm out of line", SpaceError)
    for k, file in enumerate(files):
        change(file, ImagePositionPatient=[-3, -10 + 0.3 * k, 10 + 2 * k])
    refused(tmp_path, r"shifted sideways by 0\.150", SpaceError)


@pytest.mark.parametrize(
    ("tag", "values", "message"),
    [
        ("EchoTime", ("2.98", "7.5"), r"EchoTime 2\.98 and 7\.5"),
        ("TemporalPositionIdentifier", ("1", "2"), "TemporalPositionIdentifier 1 and 2"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "R"]), "ImageType ORIGINAL/PRIMARY/M and"),
        ("EchoTime", ("2.98", "2.98"), "nothing that the header tells"),
    ],
)
def test_two_images_at_a_place_are_refused(tmp_path, tag, values, message):
    uid = generate_uid()
    for k, value in enumerate(values):
        write_series(tmp_path / str(k), scan(), uid=uid, **{tag: value})
    refused(tmp_path, rf"13 of 24 images lie at the place of another.*at \(-3, -10, 10\) mm.*{message}")


def test_a_file_copied_twice_is_refused(tmp_path, files):
    shutil.copy(files[2], tmp_path / "copy")
    refused(tmp_path, "2 of 13 images.*the same image; delete the copies")


def test_mixed_images_are_refused(tmp_path, files):
    change(files[3], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    refused(tmp_path, r"differ in orientation \(a localiser\?\).*take the others out", SpaceError)


def test_mixed_sizes_and_spacings_are_refused(tmp_path):
    uid = generate_uid()
    files = write_series(tmp_path / "a", scan(), uid=uid)
    higher = Volume(scan((9, 6, 1)).data, Space((9, 6, 1), np.diag([1.0, 1.0, 2.0, 1.0])))
    write_series(tmp_path / "b", higher, uid=uid)
    refused(tmp_path, r"differ in rows x columns: \(6, 7\).* and \(6, 9\)", SpaceError)
    shutil.rmtree(tmp_path / "b")
    change(files[3], PixelSpacing=[1, 1.1])
    refused(tmp_path, r"differ in pixel spacing, mm: \(1, 1(\.1)?\)", SpaceError)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("value", [None, "", "1"])
def test_images_without_a_place_are_refused(tmp_path, files, keyword, value):
    change(files[3], **{keyword: value})
    refused(tmp_path, f"{files[3].name}: {keyword} is (absent|1), expected [236] numbers")


def test_malformed_numbers_are_refused(tmp_path, files):
    # pydicom writes no such value: letters in place of the slope's digits
    write_series(tmp_path, scan(), uid="1.2.3", rescale=(2.5, 0))
    for file in files:
        file.write_bytes(file.read_bytes().replace(b"DS\x04\x002.5 ", b"DS\x04\x00fast"))
    refused(tmp_path, "RescaleSlope is fast, expected 1 numbers.*export the series again")


def test_directions_askew_are_refused(tmp_path, files):
    for file in files:
        change(file, ImageOrientationPatient=[1, 0, 0, 0.3, 0.95, 0])
    refused(tmp_path, "expected two unit vectors at right angles", SpaceError)


@pytest.mark.parametrize("slices", [1, 3, 7])
def test_a_few_slices_are_refused(tmp_path, slices):
    write_series(tmp_path, scan((7, 6, slices)))
    refused(tmp_path, f"{slices} slices, expected at least 8")


# --- kinds


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "CT"}, "modality CT, expected MR"),
        ({"Modality": None}, "modality none, expected MR"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localiser; expected an anatomical scan"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phases"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "a mosaic"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1; expected grey"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "3 samples a pixel, RGB; expected grey"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "RescaleSlope is 0"),
        ({"PixelData": None}, "has no pixels"),
        ({"Rows": 0}, "0 rows and 7 columns"),
    ],
)
def test_other_kinds_of_image_are_refused(tmp_path, files, tags, message):
    for file in files:
        change(file, **tags)
    refused(tmp_path, message)


def test_an_empty_scan_is_refused(tmp_path):
    write_series(tmp_path, Volume(np.zeros(SHAPE, np.int16), scan().space))
    refused(tmp_path, "all 0 or not finite; the scan is empty")


def test_an_enhanced_file_without_a_slice_is_refused(tmp_path):
    file = write_enhanced(tmp_path / "scan.dcm", scan(), order=[0, 1, 2, 3, 5, 6, 7, 8, 9])
    refused(file, r"1 slices are missing, at \(-3, -10, 18\) mm")


def test_without_pydicom_the_message_says_what_to_install(tmp_path, files, monkeypatch):
    import builtins

    original = builtins.__import__

    def absent(name, *arguments, **named):
        if name.split(".")[0] == "pydicom":
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"needs pydicom.*pip install"):
        read_series(tmp_path)
