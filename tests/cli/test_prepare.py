"""The prepare command from the outside: what a user may well hand it, and what is left behind."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from helpers.brains import bids_of, brain, die_for_the_second
from helpers.command import run
from helpers.dicom import write_enhanced, write_series
from helpers.rights import rights_hold
from neuroxai import io
from neuroxai.preprocess import BatchOptions, PrepareOptions, find_sources, prepare_cohort
from neuroxai.preprocess.options import PRESETS
from neuroxai.preprocess.outputs import Job, work
from neuroxai.space import Space, Volume

QUICK = ("--arm", "none", "--no-bias-correction", "--spacing", 4, "--no-figures")
HEAD = "space-centred_res-4_desc-brain"


def prepare(place, out, *options):
    """Run the command and check what holds for every run: no traceback, and nothing half done."""
    result = run("prepare", place, out, *QUICK, *options)
    assert result.code in (0, 1, 2)
    assert "Traceback" not in result.err
    assert "Warning" not in result.err
    if out.is_dir():
        assert not list(out.rglob("*.tmp.*"))
    return result


def refused(words, place, out, *options):
    """Exit code 2, one line that says so, and an output folder as before."""
    before = tree(out) if out.exists() else None
    result = prepare(place, out, *options)
    assert result.code == 2, result
    told = [line for line in result.err.splitlines() if not line.startswith("[")]
    assert len(told) == 1, told
    assert told[0].startswith("error: ")
    assert words in told[0]
    assert (tree(out) if out.exists() else None) == before
    return result


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def failures(result):
    return [line for line in result.err.splitlines() if line.startswith("failed: ")]


def scan_of(out, who):
    return out / who / "anat" / f"{who}_{HEAD}_T1w.nii.gz"


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """A BIDS folder of two small brains; not to be changed."""
    return bids_of(tmp_path_factory.mktemp("two") / "bids", 2)


@pytest.fixture
def bids(two, tmp_path):
    """A copy to be spoiled; sub-02 stays as it is."""
    return shutil.copytree(two, tmp_path / "bids")


def first(bids):
    return bids / "sub-01/anat/sub-01_T1w.nii.gz"


def whole_numbers(volume):
    return Volume(np.rint(volume.data).astype(np.float32), volume.space)


# --- one bad scan: told in one line, the other finished


def truncate(path):
    path.write_bytes(path.read_bytes()[:2000])


def stored(path, data, affine=None, code=4):
    image = nib.Nifti1Image(data, nib.load(path).affine if affine is None else affine)
    image.set_sform(image.affine if code else None, code)
    image.set_qform(image.affine if code else None, code)
    nib.save(image, path)


def data_of(path):
    return np.array(nib.load(path).dataobj)


def with_nan(path):
    data = data_of(path)
    data[3, 4, 5] = np.nan
    stored(path, data)


def without_a_row(path):
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[252:254] = bytes(2)  # qform_code
    header[280:296] = bytes(16)  # srow_x
    path.write_bytes(gzip.compress(bytes(header)))


SPOILED = {
    "truncated": (truncate, "truncated or damaged"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as an image"),
    "text": (lambda path: path.write_text("/annex/objects/MD5E-s1--0.nii.gz\n"), "cannot be read as an image"),
    "NaN": (with_nan, "1 of 259200 voxels are NaN"),
    "4-D": (lambda path: stored(path, np.stack([data_of(path)] * 2, -1)), "has 4 dimensions"),
    "constant": (lambda path: stored(path, 0 * data_of(path) + 7), "every voxel has the value 7"),
    "3 slices": (lambda path: stored(path, data_of(path)[:, :, 30:33]), "3 voxels of 3 mm along S cover 9 mm"),
    "metres": (lambda path: stored(path, data_of(path), np.diag([0.003] * 3 + [1.0])), "cover 0.18 mm"),
    "no affine": (without_a_row, "affine"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_bad_scan_is_told_and_the_other_is_finished(bids, tmp_path, case):
    spoil, words = SPOILED[case]
    spoil(first(bids))
    out = tmp_path / "out"
    result = prepare(bids, out)
    assert result.code == 1
    (told,) = failures(result)
    assert told.startswith("failed: sub-01: ")
    assert words in told
    assert "1 of 2 scans (1 new, 0 kept, 0 flagged, 0 dropped, 1 failed)" in result.out
    assert scan_of(out, "sub-02").is_file()
    assert not (out / "sub-01").exists()
    (row,) = io.read_tsv(out / "failed.tsv").to_dict("records")
    assert row["participant_id"] == "sub-01"
    assert words in row["error"]
    assert list(io.read_tsv(out / "quality.tsv")["participant_id"]) == ["sub-02"]


def test_what_is_mended_is_made_up_for(bids, two, tmp_path):
    truncate(first(bids))
    out = tmp_path / "out"
    assert prepare(bids, out).code == 1
    finished = scan_of(out, "sub-02").stat().st_mtime_ns
    shutil.copy(first(two), first(bids))
    result = prepare(bids, out)
    assert result.code == 0
    assert "(1 new, 1 kept," in result.out
    assert scan_of(out, "sub-02").stat().st_mtime_ns == finished
    assert not (out / "failed.tsv").exists()


def test_a_link_to_data_that_were_not_fetched(bids, tmp_path):
    first(bids).unlink()
    first(bids).symlink_to(tmp_path / ".git/annex/objects/absent.nii.gz")
    result = prepare(bids, tmp_path / "out")
    assert result.code == 1
    assert "fetch the data first" in failures(result)[0]
    assert scan_of(tmp_path / "out", "sub-02").is_file()
    shutil.rmtree(bids / "sub-02")
    refused("fetch the data first", bids, tmp_path / "other")


def test_a_flair_whose_t1w_was_not_fetched_is_not_prepared_without_it(bids, tmp_path):
    for who in ("sub-01", "sub-02"):
        scan = bids / who / "anat" / f"{who}_T1w.nii.gz"
        shutil.copy(scan, scan.with_name(f"{who}_FLAIR.nii.gz"))
    first(bids).unlink()
    first(bids).symlink_to(tmp_path / "absent.nii.gz")
    result = prepare(bids, tmp_path / "out", "--modality", "FLAIR")
    assert result.code == 1
    assert "sub-01_T1w.nii.gz is a link" in failures(result)[0]
    assert (tmp_path / f"out/sub-02/anat/sub-02_{HEAD}_FLAIR.nii.gz").is_file()
    assert not (tmp_path / "out/sub-01").exists()


@rights_hold()
def test_rights(bids, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused("Permission denied", bids, locked / "out")
    first(bids).chmod(0)
    result = prepare(bids, tmp_path / "out")
    assert result.code == 1
    assert "Permission denied" in failures(result)[0]
    assert scan_of(tmp_path / "out", "sub-02").is_file()


def test_a_disk_that_refuses_ends_with_one_line(two, tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("neuroxai.io.derivative.write_json", full)
    result = prepare(two, tmp_path / "out")
    assert result.code == 2
    assert "dataset_description.json: No space left on device; make room" in result.err


# --- what a person should look at: prepared, flagged, exit code 0


def test_a_header_without_orientation_is_flagged(bids, tmp_path):
    stored(first(bids), data_of(first(bids)), code=0)
    result = prepare(bids, tmp_path / "out")
    assert result.code == 0
    flagged = [line for line in result.err.splitlines() if line.startswith("flagged: ")]
    assert len(flagged) == 1
    assert flagged[0].startswith("flagged: sub-01: orientation_unknown: ")


def test_a_brain_cut_by_the_field_of_view_is_flagged_and_dropped_only_if_asked(bids, tmp_path):
    # heads, and masks of one's own, as extracting a brain anew takes many seconds
    for who, slices in (("sub-01", 40), ("sub-02", 60)):
        path = bids / who / "anat" / f"{who}_T1w.nii.gz"
        data = data_of(path)
        inside = data > 0
        tissue = ndimage.binary_dilation(inside, iterations=3) & ~inside
        stored(path, np.where(tissue, np.float32(200), data)[:, :, :slices])
        io.write_volume(tmp_path / f"{who}.nii", Volume(inside[:, :, :slices], io.read_volume(path).space), np.uint8)
    masks = ("--mask", str(tmp_path / "{participant}.nii"))
    result = prepare(bids, tmp_path / "out", *masks)
    assert result.code == 0
    assert "flagged: sub-01: cut_superior: " in result.err
    assert scan_of(tmp_path / "out", "sub-01").is_file()
    result = prepare(bids, tmp_path / "out", *masks, "--drop-flagged")
    assert result.code == 0
    assert "dropped: sub-01: cut_superior: " in result.err
    assert not scan_of(tmp_path / "out", "sub-01").exists()
    assert scan_of(tmp_path / "out", "sub-02").is_file()


def test_a_brain_that_was_extracted_before_is_seen(two, tmp_path):
    result = prepare(two, tmp_path / "out")
    assert result.code == 0
    quality = io.read_tsv(tmp_path / "out/quality.tsv")
    assert list(quality["brain_from"]) == ["stripped", "stripped"]
    assert "already_stripped" not in result.err


# --- masks


def test_masks(two, tmp_path):
    scan = io.read_volume(first(two))
    inside = scan.data > 0
    masks = tmp_path / "masks"
    io.write_volume(masks / "sub-01.nii.gz", Volume(inside, scan.space).reoriented("PIR"), np.uint8)
    pattern = str(masks / "{participant}.nii.gz")
    result = prepare(two, tmp_path / "given", "--mask", pattern)
    assert result.code == 1
    assert failures(result) == [f"failed: sub-02: {masks / 'sub-02.nii.gz'}: no such brain mask"]
    assert list(io.read_tsv(tmp_path / "given/quality.tsv")["brain_from"]) == ["given"]
    # the same brain, whoever found it and however it is stored
    prepare(two, tmp_path / "found")
    assert scan_of(tmp_path / "given", "sub-01").read_bytes() == scan_of(tmp_path / "found", "sub-01").read_bytes()
    other = Space(scan.space.shape, np.diag([3.0, 3.0, 3.0, 1.0]))
    io.write_volume(masks / "sub-01.nii.gz", Volume(inside, other), np.uint8)
    io.write_volume(masks / "sub-02.nii.gz", Volume(np.zeros_like(inside), scan.space), np.uint8)
    result = prepare(two, tmp_path / "bad", "--mask", pattern)
    assert result.code == 1
    one, another = failures(result)
    assert "expected a mask on the scan's grid" in one
    assert "the brain mask is empty" in another
    refused("no such brain mask", two, tmp_path / "none", "--mask", str(masks / "absent_{participant}.nii"))


def test_a_lesion_mask_outside_the_brain(two, tmp_path):
    scan = io.read_volume(first(two))
    corner = np.zeros(scan.space.shape, bool)
    corner[:3, :3, :3] = True
    io.write_volume(tmp_path / "lesions/sub-01.nii.gz", Volume(corner, scan.space), np.uint8)
    result = prepare(two, tmp_path / "out", "--lesions", str(tmp_path / "lesions/{participant}.nii.gz"))
    assert result.code == 1
    assert "no voxel of the lesion mask (27) lies in the brain" in failures(result)[0]
    assert not (tmp_path / "out/sub-01").exists()


# --- options that cannot be meant


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--arm", "rigid"], "unknown arm 'rigid'; choose one of: linear, none, nonlinear"),
        (["--engine", "fsl"], "unknown engine 'fsl'"),
        (["--scaling", "max"], "unknown scaling 'max'"),
        (["--preset", "boehle2020"], "unknown preset 'boehle2020'"),
        (["--brain", "hdbet"], "unknown brain 'hdbet'"),
        (["--modality", "T2w"], "unknown modality 'T2w'"),
        (["--centre", "nose"], "unknown centre 'nose'"),
        (["--filling", "zero"], "unknown filling 'zero'"),
        (["--spacing", "0"], "spacing is 0 mm"),
        (["--spacing", "nan"], "spacing is nan mm"),
        (["--seed", "-1"], "seed is -1"),
        (["--jobs", "0"], "jobs is 0"),
        (["--arm", "nonlinear", "--engine", "itk"], "the non-linear registration needs ANTs"),
        (["--preset", "eitel2019_filled"], "name their masks with --lesions"),
        (["--modality", "FLAIR"], "there are T1w.nii.gz"),
        (["--participant", "01"], "is a cohort"),
        (["--pattern", "../*.nii.gz"], "inside the cohort's folder"),
        (["--pattern", "sub-*/func/*"], "no NIfTI file matching the pattern"),
        (["--mask", "m/{subject}.nii.gz"], "expected {participant}, {session} or {run}"),
        (["--mask", "m/{participant.nii.gz"], "expected {participant}, {session} or {run}"),
        (["--lesions", "m/{}.nii.gz"], "expected {participant}, {session} or {run}"),
        (["--lesions", "m/{participant}.nii.gz"], "matches no file"),
        (["--template", "absent.nii.gz"], "absent.nii.gz: no such file"),
        (["--template-mask", "mask.nii.gz"], "without the template"),
    ],
)
def test_options_that_cannot_be_meant(two, tmp_path, options, words):
    refused(words, two, tmp_path / "out", *options)


def test_every_preset_is_known(two, tmp_path):
    error = refused("unknown preset", two, tmp_path / "out", "--preset", "x").err
    assert all(name in error for name in PRESETS)


# --- the two folders


def test_places_without_a_scan(tmp_path):
    refused("no such file or folder", tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    refused("the folder holds no file, expected a DICOM series", tmp_path / "empty", tmp_path / "out")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("x")
    refused("none of 1 files is a DICOM image", tmp_path / "notes", tmp_path / "out")
    (tmp_path / "bids/sub-01").mkdir(parents=True)
    refused("no NIfTI file in sub-*/anat", tmp_path / "bids", tmp_path / "out")


def test_a_participants_folder_in_place_of_the_cohorts(two, tmp_path):
    refused("give the BIDS folder that holds sub-*", two / "sub-01", tmp_path / "out")


def test_inputs_are_never_overwritten(bids, tmp_path):
    before = tree(bids)
    refused("is an input of this command", bids, bids)
    refused("lies among the inputs", bids, bids / "sub-01")
    refused("lies among the inputs", bids, bids / "sub-01/anat/out")
    refused("lies among the inputs", bids, bids / "sub-03")
    (tmp_path / "link").symlink_to(bids)
    refused("is an input of this command", bids, tmp_path / "link")
    refused("holds", bids, tmp_path)
    refused("holds", first(bids), bids)
    assert tree(bids) == before
    # where BIDS has its derivatives
    assert prepare(bids, bids / "derivatives/prepared").code == 0
    assert prepare(bids, bids / "derivatives/prepared").out.count("2 kept") == 1
    assert before.items() <= tree(bids).items()
    # prepared scans are scans: their names would be those of the results
    prepared = bids / "derivatives/prepared"
    refused("is an input of this command", prepared, prepared)
    refused("could be overwritten", scan_of(prepared, "sub-01"), prepared)
    mask = str(prepared / "{participant}/anat/{participant}_space-T1w_desc-brain_mask.nii.gz")
    refused("could be overwritten", bids, prepared, "--mask", mask)


def test_results_among_the_files_of_a_series(tmp_path):
    write_series(tmp_path / "series", whole_numbers(brain(spacing=4.0)))
    refused("whose files are to be prepared", tmp_path / "series", tmp_path / "series/out")


@pytest.mark.parametrize(
    "description", [{"Name": "x", "BIDSVersion": "1.9.0"}, [], "x", {"GeneratedBy": {"Name": "fmriprep"}}, None]
)
def test_a_folder_of_another_data_set(two, tmp_path, description):
    out = tmp_path / "out"
    out.mkdir()
    if description is None:
        (out / "thesis.txt").write_text("years of work")
    else:
        (out / "dataset_description.json").write_text(json.dumps(description))
    refused("name a new", two, out)


def test_a_file_in_place_of_the_folder(two, tmp_path):
    (tmp_path / "out").write_text("x")
    refused("is a file", two, tmp_path / "out")
    refused("is a file", two, tmp_path / "out/below")


def test_other_options_than_before(two, tmp_path):
    out = tmp_path / "out"
    assert prepare(two, out).code == 0
    refused("was made with scaling 'minmax', now 'zscore'", two, out, "--scaling", "zscore")
    refused("was made with spacing 4.0, now 2.0", two, out, "--spacing", 2)


def test_a_template_of_the_same_name(two, tmp_path):
    for number in (1, 2):
        io.write_volume(tmp_path / f"{number}/template.nii.gz", brain(seed=number))
    out = tmp_path / "out"
    assert prepare(two, out, "--template", tmp_path / "1/template.nii.gz").code == 0
    assert "2 kept" in prepare(two, out, "--template", tmp_path / "1/template.nii.gz").out
    refused("made with template_sha256", two, out, "--template", tmp_path / "2/template.nii.gz")


# --- sessions, runs, scans one by one


def test_sessions_and_runs(bids, tmp_path):
    for session, run_ in (("ses-a", "run-1_"), ("ses-a", "run-2_"), ("ses-b", "")):
        target = bids / "sub-01" / session / "anat" / f"sub-01_{session}_{run_}T1w.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first(bids), target)
    shutil.rmtree(bids / "sub-01/anat")
    runs = prepare(bids, tmp_path / "runs")
    assert runs.code == 1
    assert "sub-01 ses-a: several scans match" in runs.err
    assert "--run first" in runs.err
    assert "2 of 3 scans" in runs.out
    result = prepare(bids, tmp_path / "last", "--run", "last")
    assert result.code == 0
    assert io.read_json(tmp_path / f"last/sub-01/ses-a/anat/sub-01_ses-a_{HEAD}_T1w.json")["SourceFiles"]["scan"].count(
        "run-2"
    )
    result = prepare(bids, tmp_path / "out", "--pattern", "sub-*/ses-*/anat/*run-2_T1w.nii.gz")
    assert result.code == 0
    (bids / "sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz").unlink()
    result = prepare(bids, tmp_path / "both")
    assert "3 of 3 scans" in result.out
    assert (tmp_path / f"both/sub-01/ses-b/anat/sub-01_ses-b_{HEAD}_T1w.nii.gz").is_file()
    quality = io.read_tsv(tmp_path / "both/quality.tsv")
    assert list(quality["session_id"].fillna("")) == ["ses-a", "ses-b", ""]


def test_scans_one_by_one_are_listed_together(two, tmp_path):
    for who in ("sub-01", "sub-02"):
        assert prepare(two / who / "anat" / f"{who}_T1w.nii.gz", tmp_path / "out").code == 0
    assert list(io.read_tsv(tmp_path / "out/quality.tsv")["participant_id"]) == ["sub-01", "sub-02"]


def test_a_page_lists_all_scans_and_leads_to_each(two, tmp_path):
    assert prepare(two, tmp_path / "out", "--figures").code == 0
    text = (tmp_path / "out/index.html").read_text()
    pages = re.findall(r'href="(figures/[^"]+)"', text)
    assert pages == [f"figures/sub-0{n}_desc-quality_T1w.html" for n in (1, 2)]
    assert "../index.html" in (tmp_path / "out" / pages[0]).read_text()


# --- DICOM


def test_a_series_gives_what_its_nifti_gives(tmp_path):
    volume = whole_numbers(brain("LPS", 3.0))
    files = tmp_path / "visit"
    write_series(files / "t1", volume)
    result = prepare(files, tmp_path / "out", "--participant", 7, "--session", "b")
    assert result.code == 0, result.err
    io.write_volume(tmp_path / "sub-07_ses-b_T1w.nii.gz", volume)
    prepare(tmp_path / "sub-07_ses-b_T1w.nii.gz", tmp_path / "same", "--participant", 7)
    name = f"sub-7/ses-b/anat/sub-7_ses-b_{HEAD}_T1w"
    by_dicom, by_nifti = (io.read_volume(tmp_path / place / f"{name}.nii.gz") for place in ("out", "same"))
    assert by_dicom.space.matches(by_nifti.space)
    assert np.abs(by_dicom.data - by_nifti.data).max() < 1e-5
    record = (tmp_path / "out" / f"{name}.json").read_text()
    assert json.loads(record)["MagneticFieldStrength"] == 3
    assert not [word for word in ("Doe", "4711", "Charity", "House", "19620203") if word in record]


@pytest.mark.full(2)
def test_one_enhanced_file_gives_what_its_nifti_gives(tmp_path):
    file = write_enhanced(tmp_path / "e.dcm", whole_numbers(brain("LPS", 3.0)))
    result = prepare(file, tmp_path / "out")
    assert result.code == 0, result.err
    # frames of this helper scale by themselves: the scan is what the reader makes of it
    io.write_volume(tmp_path / "e.nii.gz", io.read_series(file)[0])
    prepare(tmp_path / "e.nii.gz", tmp_path / "same")
    name = f"sub-e/anat/sub-e_{HEAD}_T1w"
    by_dicom, by_nifti = (io.read_volume(tmp_path / place / f"{name}.nii.gz") for place in ("out", "same"))
    np.testing.assert_allclose(by_dicom.data, by_nifti.data, atol=1e-6)
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["EchoTime"] == 0.00298
    assert "1 kept" in prepare(file, tmp_path / "out").out
    assert "series '9' fits none of 1" in prepare(file, tmp_path / "other", "--series", 9).err
    assert not (tmp_path / "other").exists()


def test_one_file_of_many_is_refused_with_the_way_out(tmp_path):
    file = write_series(tmp_path / "series", whole_numbers(brain(spacing=4.0)))[7]
    result = prepare(file, tmp_path / "out")
    assert result.code == 2
    assert "1 slices, expected at least 8" in result.err


@pytest.mark.parametrize("shape", [(48, 56, 33), (33, 56, 48)])
def test_a_slab_is_refused_in_any_direction(tmp_path, shape):
    # 33 slices of 3 mm cover 99 mm, where a brain is about 120 mm high
    scan = Volume(np.random.default_rng(0).random(shape, np.float32), Space(shape, np.diag([3.0, 3, 3, 1])))
    path = io.write_volume(tmp_path / "slab_T1w.nii.gz", scan)
    result = prepare(path, tmp_path / "out")
    assert result.code == 2
    assert "cover 99 mm, expected 12 voxels and 100 mm or more" in result.err


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    volume, files = whole_numbers(brain(spacing=3.0)), tmp_path / "visit"
    write_series(files / "a", volume)
    write_series(files / "b", volume, SeriesNumber=5, SeriesDescription="t2_tse")
    result = prepare(files, tmp_path / "out")
    assert result.code == 2
    assert "2 series, expected one" in result.err
    assert "\n  3: MR, TR 2300, TE 2.98, TI 900 ms" in result.err
    assert "\n  5: MR" in result.err
    # operators write names into descriptions
    assert "Doe" not in result.err
    assert not (tmp_path / "out").exists()
    assert prepare(files, tmp_path / "out", "--series", 9).code == 2
    assert prepare(files, tmp_path / "out", "--series", "t2").code == 0


def test_a_mixed_series_is_told(tmp_path):
    volume = whole_numbers(brain(spacing=4.0))
    write_series(tmp_path / "s", volume, uid="1.2.3", EchoTime=3)
    for file in write_series(tmp_path / "x", volume, uid="1.2.3", EchoTime=9):
        file.rename(tmp_path / "s" / f"second_{file.name}")
    result = prepare(tmp_path / "s", tmp_path / "out")
    assert result.code == 2
    told = result.err
    assert "they differ in EchoTime 3.0 and 9.0" in told
    assert "Doe" not in (tmp_path / "out/failed.tsv").read_text()
    assert not (tmp_path / "out/sub-s").exists()


# --- what machines read


def test_json(bids, tmp_path):
    truncate(first(bids))
    result = prepare(bids, tmp_path / "out", "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert summary["made"] == 1
    assert [item["participant_id"] for item in summary["failed"]] == ["sub-01"]
    assert summary["flagged"] == {}


def test_a_failure_while_writing_leaves_no_part(two, tmp_path):
    (source, _), _ = find_sources(two)
    options = PrepareOptions(arm="none", spacing=4.0, bias_correction=False)

    def fail(*_, **__):
        raise RuntimeError("a library's error\nof two lines")

    result = work(Job(tmp_path / "out", options, "ants", (None, None), False, fail), source)
    assert result.error == "RuntimeError: a library's error of two lines"
    assert tree(tmp_path / "out") == {}


# --- a cluster


def test_no_scheduler_answers(two, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("neuroxai.processes.ANSWER", "300ms")
    refused("no Dask scheduler answers", two, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")


@pytest.mark.full(0)
def test_a_cluster_gives_the_same_bytes(two, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    options = PrepareOptions(arm="none", spacing=4.0, bias_correction=False)
    places = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(**places) as cluster,
    ):
        address = cluster.scheduler_address
        result = prepare(two, tmp_path / "cluster", "--scheduler", address)
        # a worker that dies takes no other scan along
        dying = prepare_cohort(
            tmp_path / "dying",
            find_sources(two)[0],
            options,
            batch=BatchOptions(scheduler=address, draw=die_for_the_second),
        )
    assert result.code == 0, result.err
    prepare(two, tmp_path / "here")
    assert tree(tmp_path / "cluster") == tree(tmp_path / "here")
    assert dying.made + dying.kept == 1
    assert [item["participant_id"] for item in dying.failed] == ["sub-02"]
    assert "ended on the cluster (KilledWorker)" in dying.failed[0]["error"]
