"""The BIDS validator finds no error in what the commands write."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.brains import bids_of
from helpers.command import run
from neuroxai.preprocess import BatchOptions, PrepareOptions, find_sources, prepare_cohort

pytestmark = pytest.mark.integration
VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))


def errors(folder):
    """What the validator has against a folder, as place, code and key."""
    if VALIDATOR is None:
        pytest.skip("no bids-validator-deno: run `pip install 'neuroxai[dev]'`")
    done = subprocess.run([VALIDATOR, "--format", "json", folder], capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    return [
        (one.get("location"), one["code"], one.get("subCode"))
        for one in found["issues"]["issues"]
        if one["severity"] == "error"
    ]


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Two people as the scanner left them, with two visits each."""
    folder = bids_of(tmp_path_factory.mktemp("visits"), 4)
    for source in sorted(folder.glob("sub-*/anat/*_T1w.nii.gz")):
        number = int(source.name[4:6]) - 1
        who, visit = f"sub-{number // 2 + 1:02d}", f"ses-{number % 2 + 1}"
        place = folder / "two" / who / visit / "anat"
        place.mkdir(parents=True)
        shutil.copy(source, place / f"{who}_{visit}_T1w.nii.gz")
    (folder / "two" / "participants.tsv").write_text("participant_id\tdiagnosis\nsub-01\tCN\nsub-02\tCN\n")
    return folder / "two"


@pytest.fixture(scope="module")
def prepared(visits, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    options = PrepareOptions(arm="none", spacing=4.0, bias_correction=False)
    batch = BatchOptions(participants=visits)
    assert prepare_cohort(out, find_sources(visits)[0], options, batch=batch).failed == []
    return out


def test_a_validator_that_finds_something(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (tmp_path / "strange.txt").write_text("strange")
    assert errors(tmp_path) == [("/strange.txt", "NOT_INCLUDED", None)]


@pytest.mark.parametrize("more", [("--effect", "atrophy"), ("--effect", "lesions", "--misalign", "--raw")])
def test_simulated(tmp_path, more):
    assert run("simulate", tmp_path / "out", *more, "--subjects", 2, "--spacing", 8).code == 0
    (tmp_path / "out" / "datalist.json").write_text("{}")  # of `neuroxai split`
    assert errors(tmp_path / "out") == []


def test_prepared_with_sessions(prepared):
    assert errors(prepared) == []
    assert json.loads((prepared / "dataset_description.json").read_text())["SourceDatasets"]


def test_simulated_in_ones_own_scans(prepared, tmp_path):
    table = prepared / "participants.tsv"
    result = run("simulate", tmp_path / "out", "--effect", "lesions", "--from", table)
    assert result.code == 0, result.err
    assert errors(tmp_path / "out") == []


def test_explained(trained_bundle, tiny_cohort, tmp_path):
    cohort = tmp_path / "cohort"  # one participant has two visits, the other none
    for person in ("sub-16", "sub-17"):
        shutil.copytree(tiny_cohort / person, cohort / person)
    anat = next((cohort / "sub-16").glob("anat/*.nii.gz"))
    for visit in ("ses-1", "ses-2"):
        place = cohort / "sub-16" / visit / "anat"
        place.mkdir(parents=True)
        shutil.copy(anat, place / anat.name.replace("sub-16", f"sub-16_{visit}"))
    anat.unlink()
    result = run("explain", trained_bundle, cohort, "--desc", "brain", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert run("report", tmp_path / "out").code == 0
    assert errors(tmp_path / "out") == []
    columns = (tmp_path / "out" / "regions.tsv").read_text().split("\n")[0].split("\t")
    assert set(columns) <= set(json.loads((tmp_path / "out" / "regions.json").read_text()))


def test_predicted(trained_bundle, tiny_cohort, tmp_path):
    words = ("predict", trained_bundle, tiny_cohort, "--part", "test", "--out", tmp_path / "out")
    assert run(*words).code == 0
    assert run(*words).code == 0  # its own folder is taken again
    assert errors(tmp_path / "out") == []
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "neuroxai predict"
    assert about["SourceDatasets"] == [{"URL": Path(tiny_cohort).resolve().as_uri()}]
