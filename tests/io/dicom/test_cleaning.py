"""Whatever stands in a series' header, its objects are valid, or the series is refused before anything is written."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from helpers.dicom import change, write_enhanced, write_series
from helpers.draws import COSTLY
from neuroxai import io
from neuroxai.errors import InputError, NeuroxaiError, SpaceError
from neuroxai.io.dicom.cleaning import cleaned
from neuroxai.space import Space, Volume

ABOUT = io.Description("saliency for AD", "saliency", {"beta": 0}, "AD", "seed")
SCAN = Volume(
    np.random.default_rng(1).integers(0, 900, (7, 6, 9)).astype(np.int16), Space((7, 6, 9), np.diag([1.0, 1, 2, 1]))
)
KEYWORDS = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyDate",
    "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "SeriesDate", "SeriesTime",
    "PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
    "InstitutionName", "StationName", "StudyInstanceUID", "FrameOfReferenceUID", "SliceThickness", "InstanceNumber",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "EthnicGroup",
    "PatientComments", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "SeriesDescription", "SeriesNumber",
    "ImageType", "BurnedInAnnotation", "OtherPatientIDs",
)  # fmt: skip
SEEN = [
    b"", b" ", b"19500000", b"1950.02.03", b"12:34:56", b"123456.1234567", b"240000", b"weiblich", b"Male", b"U",
    b"ISO IR 100", b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 149", b"\\ISO 2022 IR 87\\ISO 2022 IR 13", b"GB18030",
    b"ISO 2022 IR 58", b"ISO_IR 999", b"M\xfcller^J\xf6rg", "洪^吉洞=홍^길동".encode(),
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce",
    b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", b"A^B^C^D^E^F^G", b"A\\B\\C", b"x" * 70, b"1.2.abc",
    b"\x00\x00", b"\xff\xfe\x80", b"034Y", b"34", b"1e400", b"nan", b"-1", b"01", b"YES", b"a\nb\tc",
]  # fmt: skip


def objects(folder, origin):
    folder.mkdir(exist_ok=True)
    labels = np.zeros(origin.space.shape, np.uint8)
    labels[1, 2, 3] = 1
    heatmap = Volume(labels.astype(np.float32) / 3, origin.space)
    segments = [io.Segment(1, "Région gauche", (255, 0, 0))]
    columns, rows, slices = origin.space.shape
    pictures = np.zeros((slices, rows + 2, columns, 3), np.uint8)
    return [
        io.write_parametric_map(folder / "map.dcm", heatmap, origin, ABOUT),
        io.write_segmentation(folder / "seg.dcm", Volume(labels, origin.space), segments, origin, ABOUT),
        io.write_report(folder / "sr.dcm", origin, ABOUT, {"Use": "research", "Probability": 0.25}),
        io.write_captures(folder / "overlay", pictures, origin, ABOUT) / "0001.dcm",
    ]


def elements(dataset):
    for tag in list(dataset.keys()):
        if tag in (0x0020000D, 0x00200052):
            continue  # study and frame of reference are the source's own, be it with leading zeros
        element = dataset[tag]
        yield element
        for item in element.value if element.VR == "SQ" else ():
            yield from elements(item)


def check(paths, validator):
    """Read every value back strictly, by pydicom, highdicom and ourselves; ask the validator where it is installed."""
    for path in paths:
        with _strict():
            made = pydicom.dcmread(path)
            for element in elements(made):
                assert "\ufffd" not in str(element.value), element
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
            assert keyword in made
        if validator:
            told = subprocess.run(
                ["dciodvfy", str(path)], capture_output=True, text=True, check=False, errors="replace"
            )
            lines = (told.stdout + told.stderr).splitlines()
            assert lines
            # it counts bytes where DICOM counts letters (PS3.5 6.2); zeros that lead are the source's own
            wrong = [x for x in lines if x.startswith(("Error", "Abort")) and "Length invalid" not in x]
            wrong = [x for x in wrong if "Leading zeroes" not in x and "contains invalid data values" not in x]
            assert not wrong, told.stderr
    data = io.read_parametric_map(paths[0]).data
    assert (data.max(), np.count_nonzero(data)) == (np.float32(1 / 3), 1)
    assert np.count_nonzero(io.read_segmentation(paths[1])[0].data == 1) == 1
    assert highdicom.seg.segread(paths[1]).get_segment_description(1).segment_label == "Région gauche"
    assert highdicom.sr.srread(paths[2]).content is not None


class _strict:
    def __enter__(self):
        self.mode, pydicom.config.settings.reading_validation_mode = (
            pydicom.config.settings.reading_validation_mode,
            pydicom.config.RAISE,
        )

    def __exit__(self, *_):
        pydicom.config.settings.reading_validation_mode = self.mode


def raw(file, values):
    """Put bytes into a header as they are, which pydicom would not write: explicit, little endian."""
    whole = file.read_bytes()
    place = 144 + int.from_bytes(whole[140:144], "little")
    begin, elements = whole[:place], {}
    while (tag := struct.unpack("<HH", whole[place : place + 4])) < (0x5000, 0):
        long = whole[place + 4 : place + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        size = struct.unpack("<I", whole[place + 8 : place + 12])[0] + 12 if long else whole[place + 6] + 8
        elements[tag] = whole[place : place + size]
        place += size
    for keyword, value in values.items():
        tag = Tag(tag_for_keyword(keyword))
        value = value + b" " * (len(value) % 2)
        words = struct.pack("<HH2sH", tag.group, tag.element, dictionary_VR(tag).encode(), len(value))
        if dictionary_VR(tag) not in ("SQ", "UT"):
            elements[tag.group, tag.element] = words + value
    file.write_bytes(begin + b"".join(elements[tag] for tag in sorted(elements)) + whole[place:])


@pytest.fixture(scope="module", params=["classic", "enhanced"])
def series(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "classic":
        write_series(folder, SCAN)
    else:
        write_enhanced(folder / "e.dcm", SCAN)
    return folder


VALUES = st.one_of(st.sampled_from(SEEN), st.binary(max_size=20), st.text(max_size=20).map(str.encode))


@settings(COSTLY, phases=[Phase.explicit, Phase.generate])
@given(values=st.dictionaries(st.sampled_from(KEYWORDS), VALUES, min_size=4, max_size=25))
def test_objects_of_any_header_are_valid_or_refused(series, values):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "series"
        shutil.copytree(series, place)
        for file in place.iterdir():
            raw(file, values)
        try:
            origin = io.read_origin(place)
        except NeuroxaiError:
            return
        check(objects(Path(name), origin), shutil.which("dciodvfy") is not None)


@pytest.mark.parametrize(
    ("characters", "name", "expected"),
    [
        # the examples of DICOM PS3.5, annexes H and I
        (rb"\ISO 2022 IR 149",
         b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
         "Hong^Gildong=洪^吉洞=홍^길동"),
        (rb"\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
         "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (b"ISO IR 100", b"M\xfcller^J\xf6rg", "Müller^Jörg"),
        (b"ISO_IR 192", "Müller^Jörg".encode(), "Müller^Jörg"),
        (b"ISO_IR 6", b"M\xfcller^J\xf6rg", ""),
        (b"", "Müller^Jörg".encode(), "Müller^Jörg"),
        (b"ISO_IR 999", "홍^길동".encode("euc-kr"), ""),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
    ],
)  # fmt: skip
def test_names_of_the_world_are_kept_letter_by_letter(tmp_path, characters, name, expected):
    for file in write_series(tmp_path / "series", SCAN):
        raw(file, {"SpecificCharacterSet": characters, "PatientName": name})
    for path in objects(tmp_path / "made", io.read_origin(tmp_path / "series")):
        assert str(pydicom.dcmread(path).PatientName) == expected


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientBirthDate", b"19500000", ""),
        ("PatientBirthDate", b"1950.02.03", "19500203"),
        ("PatientBirthDate", b"1950-02-03", "19500203"),
        ("PatientBirthDate", b"19500230", ""),
        ("StudyDate", b"05/03/2024", ""),
        ("StudyTime", b"12:34:56", "123456"),
        ("StudyTime", b"12:34:56.7", "123456.7"),
        ("StudyTime", b"1234", "123400"),
        ("StudyTime", b"250000", ""),
        ("PatientSex", b"male", "M"),
        ("PatientSex", b"F", "F"),
        ("PatientSex", b"weiblich", ""),
        ("PatientID", b"x" * 64, "x" * 64),
        ("PatientID", b"x" * 65, ""),
        ("PatientID", rb"A\B", ""),
        ("AccessionNumber", b"ACC-2024-0000123456", ""),
    ],
)
def test_what_is_not_valid_is_left_empty_and_reported(tmp_path, keyword, value, expected):
    write_series(tmp_path, SCAN)
    file = next(tmp_path.iterdir())
    raw(file, {keyword: value})
    made, left = cleaned(pydicom.dcmread(file))
    assert str(made[keyword].value or "") == expected
    assert left == ([] if expected else [keyword])


def test_without_a_slice_thickness_objects_say_how_far_slices_are_apart(tmp_path):
    write_series(tmp_path / "series", SCAN, SliceThickness=None, SpacingBetweenSlices=None)
    path = objects(tmp_path / "made", io.read_origin(tmp_path / "series"))[0]
    shared = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0]
    assert float(shared.PixelMeasuresSequence[0].SliceThickness) == 2


def test_objects_need_one_patient_one_study_and_identifiers(tmp_path):
    for number, (tags, message) in enumerate(
        (
            ({"PatientID": "another"}, "images differ in PatientID"),
            ({"StudyInstanceUID": "1.2.3"}, "images differ in StudyInstanceUID"),
            ({"SOPInstanceUID": None}, "has no SOPInstanceUID"),
            ({"SOPClassUID": "1.3.46.670589.11.0.0.12.1"}, "objects are written beside MR images alone"),
        )
    ):
        folder = tmp_path / str(number)
        change(write_series(folder, SCAN)[4], **tags)
        with pytest.raises(InputError, match=message):
            io.read_origin(folder)
        assert io.read_series(folder)[1]["files"] == 9
    shutil.rmtree(folder)
    for file in write_series(folder, SCAN):
        change(file, SOPInstanceUID="1.2.3.4")
    with pytest.raises(InputError, match="share a SOPInstanceUID"):
        io.read_origin(folder)


def test_two_frames_of_reference_are_refused_and_one_a_file_is_none(tmp_path):
    files = write_series(tmp_path, SCAN, FrameOfReferenceUID="1.2.3")
    change(files[4], FrameOfReferenceUID="1.2.4")
    for read in (io.read_series, io.read_origin):
        with pytest.raises(SpaceError, match="2 frames of reference"):
            read(tmp_path)
    for number, file in enumerate(files):
        change(file, FrameOfReferenceUID=f"1.2.{number}")
    origin = io.read_origin(tmp_path)
    assert origin.headers[0].FrameOfReferenceUID.startswith("2.25.")
    assert "no one frame of reference" in origin.remarks[0]


@pytest.mark.parametrize(
    ("syntax", "given", "expected"),
    [
        (None, ("", "", ""), ("00", None, None)),
        (None, ("00", "9", ""), ("00", None, None)),
        # nothing is invented: what the header does not say, the objects do not say
        (None, ("01", "", ""), ("01", None, None)),
        (None, ("01", "10.5", "ISO_15444_1"), ("01", 10.5, "ISO_15444_1")),
        (None, ("01", "3\\4", "jpeg"), ("01", [3, 4], None)),
        (None, ("01", "-2", "ISO_10918_1"), ("01", None, "ISO_10918_1")),
        ("1.2.840.10008.1.2.4.50", ("", "", ""), ("01", None, None)),
        ("1.2.840.10008.1.2.4.91", ("00", "", ""), ("00", None, None)),
    ],
)
def test_of_lossy_compression_objects_say_what_the_series_says(tmp_path, syntax, given, expected):
    keywords = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
    for file in write_series(tmp_path / "series", SCAN):
        raw(file, {keyword: value.encode() for keyword, value in zip(keywords, given, strict=True) if value})
        if syntax is not None:
            header = pydicom.dcmread(file)
            header.file_meta.TransferSyntaxUID = syntax
            header.PixelData = pydicom.encaps.encapsulate([bytes(84)])
            header["PixelData"].VR = "OB"
            header.save_as(file)
    made = objects(tmp_path / "made", io.read_origin(tmp_path / "series"))
    check(made, shutil.which("dciodvfy") is not None)
    for path in made[:2]:
        found = pydicom.dcmread(path)
        assert tuple(found.get(keyword) for keyword in keywords) == expected


@pytest.mark.parametrize(
    ("keyword", "representation", "value"),
    [("Rows", "FD", b"-1"), ("ImageType", "FL", b"3 "), ("StudyTime", "FD", b"1 "), ("SeriesDescription", "FD", b"0 ")],
)
def test_values_that_do_not_fit_their_representation_are_refused_or_left(tmp_path, keyword, representation, value):
    from pydicom.dataelem import RawDataElement

    tag = Tag(tag_for_keyword(keyword))
    for file in write_series(tmp_path, SCAN):
        header = pydicom.dcmread(file)
        header[tag] = RawDataElement(tag, representation, len(value), value, 0, False, True)
        header.save_as(file)
    try:
        io.read_origin(tmp_path)
    except InputError:
        assert keyword in ("Rows", "ImageType")
