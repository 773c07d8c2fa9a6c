"""Headers that lie, against nibabel's own reading of them."""

from __future__ import annotations

import contextlib
import gzip
import os
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from neuroxai import io
from neuroxai.errors import HeaderWarning, InputError, NeuroxaiError, SpaceError
from neuroxai.io.header import MOST_HEADER
from neuroxai.io.orientation import VARIABLE

SHAPE = (6, 5, 4)
AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 3, -18], [0, 0, 0, 1]])
MILLIMETRES = {"unknown": 1, "mm": 1, "meter": 1000, "micron": 0.001}


def written(path, kind=nib.Nifti1Image, affine=AFFINE, unit="mm", **fields):
    """A header with fields replaced byte by byte, whatever nibabel thinks of them."""
    image = kind(np.arange(120, dtype=np.int16).reshape(SHAPE), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units(unit)
    content = image.to_bytes()
    size = image.header.sizeof_hdr
    raw = np.frombuffer(content[:size], image.header.template_dtype).copy()
    for name, value in fields.items():
        raw[name] = value
    content = raw.tobytes() + content[size:]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1000), ("meter", 0.001)])
def test_units_are_used(tmp_path, unit, factor):
    affine = np.diag([factor, factor, factor, 1.0]) @ AFFINE
    path = written(tmp_path / "x.nii", affine=affine, unit=unit)
    assert nib.load(path).header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(io.read_volume(path).space.affine, AFFINE, rtol=1e-6)
    np.testing.assert_allclose(io.read_space(path).affine, AFFINE, rtol=1e-6)
    found = io.read_orientation(path)
    np.testing.assert_allclose(found.qform, AFFINE, atol=1e-4)


@given(
    unit=st.sampled_from(sorted(MILLIMETRES)),
    voxel=st.tuples(*[st.floats(-4, 4).map(lambda power: 10**power)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    forms=st.sampled_from([(1, 1), (1, 0), (0, 1), (2, 4)]),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
)
def test_any_unit_is_used_or_refused(tmp_path, unit, voxel, flips, forms, kind):
    affine = np.diag([*(size * flip for size, flip in zip(voxel, flips, strict=True)), 1.0])
    sform, qform = forms
    path = written(tmp_path / "x.nii", kind, affine, unit, sform_code=sform, qform_code=qform)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = nib.load(path).affine.copy()
        theirs[:3] *= MILLIMETRES[unit]
        long = max(np.array(voxel) * SHAPE) * MILLIMETRES[unit]
        try:
            found = io.read_volume(path, check_content=False).space.affine
        except SpaceError:
            # millimetres are taken at their word, other units where they make a scan of a head's order of size
            assert not 1.001 <= long <= 9_990 or min(voxel) * MILLIMETRES[unit] < 1e-3 or max(voxel) > 100 * min(voxel)
            return
        np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6 * long)
        np.testing.assert_allclose(io.read_space(path).affine, theirs, rtol=1e-5, atol=1e-6 * long)
        assert MILLIMETRES[unit] == 1 or 0.999 <= long <= 10_010


@pytest.mark.parametrize(("unit", "long"), [("micron", "0.012 mm long")])
def test_a_unit_that_makes_a_scan_impossible_is_refused(tmp_path, unit, long):
    with pytest.raises(SpaceError, match=f"unit is {unit}.*{long}, expected 1 to 10,000"):
        io.read_space(written(tmp_path / "x.nii", unit=unit))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vox_offset": 0}, r"vox_offset is 0.0, expected 352"),
        ({"vox_offset": 16}, r"vox_offset is 16.0, expected 352"),
        ({"vox_offset": np.inf}, r"vox_offset is inf"),
        ({"vox_offset": np.nan}, r"vox_offset is nan"),
        ({"vox_offset": 1e12}, r"vox_offset is 9999"),
        ({"xyzt_units": 5}, r"xyzt_units is 5"),
        ({"sform_code": -3}, r"sform_code is -3"),
        ({"qform_code": 77}, r"qform_code is 77"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, r"truncated or damaged: .* 54,000,000,000,352 bytes"),
        ({"dim": [9, 6, 5, 4, 1, 1, 1, 1]}, r"(dim|vox_offset) is"),  # read in the other byte order, perhaps
        ({"dim": [3, 6, 0, 4, 1, 1, 1, 1]}, r"dim is"),
        ({"scl_slope": np.inf}, r"scl_slope and scl_inter is \(inf"),
        ({"scl_slope": 2, "scl_inter": np.nan}, r"scl_slope and scl_inter is \(2.0, nan"),
        ({"sform_code": 0, "pixdim": [1, np.nan, 2, 3, 1, 1, 1, 1]}, r"no sform.*pixdim"),
        ({"sform_code": 0, "pixdim": [1, 0, 2, 3, 1, 1, 1, 1]}, r"no sform.*pixdim.*0.0"),
        ({"sform_code": 0, "pixdim": [-0.5, 2, 2, 3, 1, 1, 1, 1]}, r"pixdim\[0\] is -0.5"),
        ({"sform_code": 0, "quatern_b": np.inf}, r"qform holds NaN or infinite"),
        ({"sform_code": 0, "quatern_b": 1.2}, r"quaternion has the length"),
        ({"magic": b"ni1"}, r"magic is"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_cannot_be_used_is_named(tmp_path, fields, words, ending):
    path = written(tmp_path / f"x{ending}", **fields)
    with pytest.raises(InputError, match=rf"x\{ending}: .*{words}"):
        io.read_space(path)


def test_a_quaternion_that_rounding_made_longer_than_1(tmp_path):
    """Half a turn about z; nibabel refuses it."""
    fields = {"quatern_b": 0, "quatern_c": 0, "quatern_d": 1.0004, "pixdim": [1, 2, 2, 3, 0, 0, 0, 0]}
    turn = {"qoffset_x": 10, "qoffset_y": 20, "qoffset_z": 30}
    affine = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    path = written(tmp_path / "x.nii", affine=affine, **fields, **turn)
    with pytest.raises(ValueError, match="w2"):
        nib.load(path).get_qform()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = io.read_orientation(path)
    np.testing.assert_allclose(found.qform, affine, atol=1e-5)
    np.testing.assert_allclose(io.read_volume(path).space.affine, affine, atol=1e-6)
    alone = written(tmp_path / "y.nii", affine=affine, sform_code=0, **fields, **turn)
    np.testing.assert_allclose(io.read_volume(alone).space.affine, affine, atol=1e-5)


def test_contradictions_are_told_wherever_a_scan_is_opened(tmp_path):
    path = written(tmp_path / "x.nii", qoffset_y=0)
    for read in (io.read_volume, io.read_space, io.read_orientation):
        with pytest.warns(
            HeaderWarning, match=r"x.nii: the header's sform and qform lie up to 30 mm apart; the sform is"
        ) as caught:
            read(path)
        assert caught[0].filename == __file__  # points at who opened it
    with pytest.warns(UserWarning, match="qform holds NaN"):
        np.testing.assert_allclose(io.read_space(written(tmp_path / "y.nii", quatern_c=np.nan)).affine, AFFINE)
    with pytest.warns(UserWarning, match="one of them swaps left and right"):
        io.read_space(written(tmp_path / "z.nii", pixdim=[1, 2, 2, 3, 1, 1, 1, 1]))


def test_analyze_and_marks_without_orientation(tmp_path, monkeypatch):
    data = np.arange(120, dtype=np.int16).reshape(SHAPE)
    nib.AnalyzeImage(data, None).to_filename(tmp_path / "a.img")
    nib.MGHImage(data.astype(np.float32), AFFINE).to_filename(tmp_path / "good.mgz")
    content = bytearray(gzip.decompress((tmp_path / "good.mgz").read_bytes()))
    content[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "b.mgz").write_bytes(gzip.compress(content))
    np.testing.assert_allclose(io.read_volume(tmp_path / "good.mgz").space.affine, AFFINE, atol=1e-6)
    for name in ("a.img", "a.hdr", "b.mgz"):
        with pytest.raises(InputError, match=rf"{name}: .*left and right.*--orientation"):
            io.read_volume(tmp_path / name)
    monkeypatch.setenv(VARIABLE, "LPI")
    written(tmp_path / "c.nii", sform_code=0, qform_code=0)
    for name in ("a.img", "a.hdr", "b.mgz", "c.nii"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume = io.read_volume(tmp_path / name)
        assert volume.space.orientation == "LPI"
        np.testing.assert_allclose(volume.space.world((np.array(SHAPE) - 1) / 2), 0, atol=1e-6)
    assert io.read_volume(tmp_path / "c.nii").space.spacing == pytest.approx((2, 2, 3))
    # what a header says stands
    assert io.read_volume(written(tmp_path / "d.nii")).space.orientation == "LAS"


def test_the_option_reaches_the_reader(tmp_path, monkeypatch):
    from neuroxai.cli.main import app

    monkeypatch.setenv(VARIABLE, "RAS")  # put back afterwards
    monkeypatch.delenv(VARIABLE)
    nib.AnalyzeImage(np.ones((40, 50, 40), np.int16), None).to_filename(tmp_path / "a.img")
    arguments = ["atlas", "check", str(tmp_path / "a.img")]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InputError)
    wrong = CliRunner().invoke(app, [*arguments, "--orientation", "XYZ"])
    assert isinstance(wrong.exception, InputError)
    assert "XYZ" in str(wrong.exception)
    told = CliRunner().invoke(app, [*arguments, "--orientation", "las"])
    assert not isinstance(told.exception, InputError)
    assert os.environ[VARIABLE] == "LAS"


def test_a_quaternion_that_is_not_in_use_is_not_looked_at(tmp_path):
    sizes = [1, np.nan, 2, 3, 1, 1, 1, 1]
    path = written(tmp_path / "x.nii.gz", qform_code=0, quatern_b=np.nan, pixdim=sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", HeaderWarning)
        np.testing.assert_array_equal(io.read_volume(path).space.affine, AFFINE)


@pytest.mark.parametrize(("value", "whole"), [(2.0009, True), (2.0011, False), (-1.9989, False)])
def test_labels_are_whole_but_for_rounding(tmp_path, value, whole):
    nib.Nifti1Image(np.full(SHAPE, value), AFFINE).to_filename(tmp_path / "labels.nii")
    with contextlib.nullcontext() if whole else pytest.raises(InputError, match="labels are whole numbers"):
        assert set(np.unique(io.read_labels(tmp_path / "labels.nii").data)) == {2}


def test_files_that_unpack_without_end_and_files_that_are_none(tmp_path):
    good = gzip.decompress(written(tmp_path / "x.nii.gz").read_bytes())
    (tmp_path / "tail.nii.gz").write_bytes(gzip.compress(good) + gzip.compress(bytes(1 << 25)))
    with pytest.raises(InputError, match="16,777,216 bytes beyond the 592"):
        io.read_volume(tmp_path / "tail.nii.gz")
    # a tail as long as headers may be passes; one byte more does not
    for more, refused in ((0, False), (1, True)):
        (tmp_path / "tail.nii.gz").write_bytes(gzip.compress(good) + gzip.compress(bytes(MOST_HEADER + more)))
        with pytest.raises(InputError, match="beyond the 592") if refused else contextlib.nullcontext():
            io.read_volume(tmp_path / "tail.nii.gz")
    raw = np.frombuffer(good[:348], nib.Nifti1Header.template_dtype).copy()
    raw["dim"], raw["datatype"], raw["bitpix"] = [3, 900, 900, 900, 1, 1, 1, 1], 16, 32
    big = tmp_path / "big.nii.gz"
    big.write_bytes(gzip.compress(raw.tobytes() + bytes(4) + os.urandom(1 << 22)))
    with pytest.raises(InputError, match="2,916,000,352 bytes, expected at most 1,073,741,824"):
        io.read_volume(big)
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "device.nii.gz").symlink_to("/dev/zero")
    for name in ("pipe.nii", "device.nii.gz"):
        with pytest.raises(InputError, match=f"{name}: is a pipe, a socket or a device"):
            io.read_volume(tmp_path / name)
    # an extension of size 0 would be read to the end of the file
    (tmp_path / "extended.nii").write_bytes(
        written(tmp_path / "y.nii", vox_offset=400).read_bytes()[:348] + b"\1\0\0\0" + bytes(48) + good[352:]
    )
    with pytest.raises(InputError, match="extension at byte 352"):
        io.read_volume(tmp_path / "extended.nii")


SPECIAL = [0, 1, -1, 2, 3, 5, 7, 100, 352, 512, 32767, -32768, 1e-30, 1e30, np.nan, np.inf, -np.inf, 0.5, 1.0004]
FIELDS = [
    *("sizeof_hdr", "dim", "dim", "dim", "datatype", "bitpix", "pixdim", "pixdim", "vox_offset", "scl_slope"),
    *("scl_inter", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x"),
    *("srow_x", "srow_y", "srow_z", "magic", "intent_code", "dim_info"),
]


def mutate(raw, rng):
    for name in rng.choice(FIELDS, rng.integers(1, 4)):
        value = raw[name]
        new = rng.choice(SPECIAL) if rng.random() < 0.6 else float(rng.normal() * 10.0 ** rng.integers(-2, 4))
        if value.dtype.kind == "S":
            raw[name] = rng.choice([b"n+1", b"ni1", b"n+2", b"", b"xyz"])
        elif value.dtype.kind in "iu":
            info = np.iinfo(value.dtype)
            low, high = max(info.min, -(2**31)), min(info.max, 2**31)
            new = int(np.clip(np.nan_to_num(new, nan=0, posinf=high, neginf=low), low, high))
            if value.ndim:
                raw[name][rng.integers(len(value))] = new
            else:
                raw[name] = new
        elif value.ndim:
            raw[name][rng.integers(len(value))] = new
        else:
            raw[name] = new


def test_seven_hundred_broken_headers_against_nibabel(tmp_path, caplog):
    """Refused by us, or read as nibabel reads them, in mm; nothing else, and no other exception."""
    rng = np.random.default_rng(20)
    kinds, read, refused = (nib.Nifti1Image, nib.Nifti2Image), 0, 0
    caplog.set_level("CRITICAL", "nibabel.global")
    for number in range(700):
        path = written(tmp_path / ("x.nii", "x.nii.gz")[number % 2], kinds[number % 3 == 2])
        content = path.read_bytes() if path.suffix == ".nii" else gzip.decompress(path.read_bytes())
        kind = kinds[number % 3 == 2].header_class
        raw = np.frombuffer(content[: kind.sizeof_hdr], kind.template_dtype).copy()[()]
        raw = np.array(raw)
        with np.errstate(all="ignore"):
            mutate(raw, rng)
        content = raw.tobytes() + content[kind.sizeof_hdr :]
        path.write_bytes(content if path.suffix == ".nii" else gzip.compress(content, 1))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                volume = io.read_volume(path, np.float64, check_content=False)
            except NeuroxaiError as error:
                refused += str(path) in str(error)
                continue
            read += 1
            image = nib.load(path)
            unit = MILLIMETRES[nib.nifti1.unit_codes.label[int(image.header["xyzt_units"]) & 7]]
            affine = image.affine.copy()
            affine[:3] *= unit
            np.testing.assert_allclose(volume.space.affine, affine, rtol=1e-6, atol=1e-4)
            np.testing.assert_array_equal(volume.data, np.asarray(image.dataobj, float).reshape(volume.data.shape))
    assert read + refused == 700
    assert min(read, refused) > 100
