"""One participant of a folder alone, as BIDS Apps are asked."""

import json
import re
import shlex
import shutil

import pytest
import typer

from helpers.brains import bids_of
from helpers.bundles import AD, MS, SEX
from helpers.command import run
from neuroxai.cli import bidsapp
from neuroxai.cli._bundle import participants_asked
from neuroxai.errors import InputError
from neuroxai.explain.preparation import choices_for
from neuroxai.io import read_json, read_tsv, write_json
from neuroxai.space import mni152


def test_the_example_of_the_bids_app_is_understood():
    command = typer.main.get_command(bidsapp.app)
    (line,) = re.findall(r"Example: `neuroxai-bidsapp (.+?)`", command.help)
    given = command.make_context("neuroxai-bidsapp", shlex.split(line)).params
    assert (given["analysis_level"], given["participant_label"]) == ("participant", ["01"])


def test_labels_with_and_without_prefix():
    known = ["sub-01", "sub-02", "sub-03", "sub-02"]
    assert participants_asked(None, known) == set(known)
    assert participants_asked(["01", "sub-03"], known) == {"sub-01", "sub-03"}
    assert participants_asked(["01,sub-02 03"], known) == set(known)
    with pytest.raises(InputError, match=r"unknown participant \(--participant-label\) 'sub-9'.*sub-01"):
        participants_asked(["9"], known)


@pytest.mark.parametrize(
    ("bundle", "choices"),
    [
        (AD, {"spacing": 2.0, "modality": "T1w", "scaling": "minmax"}),
        (MS, {"spacing": 2.0, "modality": "FLAIR", "scaling": "maximum"}),
        (SEX, {"spacing": 2.0, "modality": "T1w", "scaling": "maximum"}),
    ],
)
def test_what_a_bundle_asks_for(bundle, choices):
    assert choices_for(bundle) == choices


def test_a_trained_bundle_says_what_it_was_trained_on(tmp_path):
    bundle = shutil.copytree(AD, tmp_path / "bundle", ignore=shutil.ignore_patterns("models", "eval"))
    (bundle / "models").mkdir()
    record = {"space": mni152(4).to_dict(), "settings": {"normalisation": "zscore"}, "classes": ["CN", "AD"]}
    write_json(bundle / "models" / "model.json", record)
    assert choices_for(bundle) == {"spacing": 4.0, "modality": "T1w", "scaling": "zscore"}
    (bundle / "models" / "model.json").unlink()
    metadata = read_json(bundle / "configs" / "metadata.json")
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [7, 7, 7]
    write_json(bundle / "configs" / "metadata.json", metadata)
    with pytest.raises(InputError, match=r"takes a grid of \(7, 7, 7\)"):
        choices_for(bundle)


@pytest.fixture(scope="module")
def bids(tmp_path_factory):
    return bids_of(tmp_path_factory.mktemp("bids"), 3)


@pytest.mark.integration
def test_prepare_for_a_bundle_and_some_participants(bids, tmp_path):
    words = ("--for", AD.name, "--arm", "none", "--spacing", 5, "--no-figures", "--no-bias-correction", "--json")
    said = run("prepare", bids, tmp_path / "out", *words, "--participant-label", "02,sub-03")
    assert said.code == 0, said.err
    assert json.loads(said.out)["scans"] == 2
    assert list(read_tsv(tmp_path / "out" / "quality.tsv")["participant_id"]) == ["sub-02", "sub-03"]
    made = read_json(tmp_path / "out" / "dataset_description.json")["GeneratedBy"][0]["Parameters"]
    assert (made["scaling"], made["spacing"], made["modality"]) == ("minmax", 5, "T1w")
    said = run("prepare", bids, tmp_path / "out", "--for", AD.name, "--preset", "boehle2019")
    assert said.code == 2
    assert "leave one out" in said.err
    said = run("prepare", bids, tmp_path / "out", "--for", "nonsense")
    assert said.code == 2
    assert "unknown bundle 'nonsense'" in said.err


def test_explain_some_participants(trained_bundle, tiny_cohort, tmp_path):
    more = ("--part", "test", "--scores-only", "--no-native")
    said = run("explain", trained_bundle, tiny_cohort, "--out", tmp_path, *more, "--participant-label", "17")
    assert said.code == 0, said.err
    assert list(read_tsv(tmp_path / "predictions.tsv")["participant_id"]) == ["sub-17"]
    scan = tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"
    said = run("predict", trained_bundle, scan, "--out", tmp_path / "one", "--participant-label", "17")
    assert said.code == 2
    assert "go with a cohort's folder" in said.err


def app(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["neuroxai-bidsapp", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        bidsapp.main()
    return left.value.code, capsys.readouterr()


@pytest.mark.full(0)
def test_a_bids_app(trained_bundle, bids, tmp_path, monkeypatch, capsys):
    out, more = tmp_path / "out", ("--bundle", trained_bundle, "--arm", "none", "--accept-unfit")
    code, said = app(monkeypatch, capsys, bids, out, "group", *more)
    assert code == 2
    assert "run the level `participant` first" in said.err
    for label in ("02", "03"):
        code, said = app(monkeypatch, capsys, bids, out, "participant", *more, "--participant-label", label)
        assert code == 0, said.err
    (out / "predictions.tsv").unlink()  # as if the other call had written it without this participant
    code, said = app(monkeypatch, capsys, bids, out, "group", *more)
    assert code == 0, said.err
    assert list(read_tsv(out / "predictions.tsv")["participant_id"]) == ["sub-02", "sub-03"]
    assert (out / "report" / "index.html").is_file()
    assert (out / "prepared" / "sub-02" / "anat").is_dir()
    code, said = app(monkeypatch, capsys, bids, out, "cohort", *more)
    assert code == 2
    assert "unknown analysis level 'cohort'" in said.err
