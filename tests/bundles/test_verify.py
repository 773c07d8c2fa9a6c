"""A good bundle passes all checks; each broken copy is caught by the check meant for it."""

from __future__ import annotations

import json
import shutil
import subprocess

import jsonschema
import pytest
import torch

from helpers.bundles import AD, copy_of
from helpers.command import run
from neuroxai.bundles.checks import exports, files, processes, properties
from neuroxai.bundles.checks.trial import Problem, Trial
from neuroxai.bundles.verify import CHECKS, SLOW, Outcome, table, verify
from neuroxai.io import read_json, write_json
from neuroxai.networks import ad_cnn
from neuroxai.space import mni152

READING = ("file set", "sources alone", "plain JSON, no local path", "both spellings", "imports")


def edited(name, /, **changes):
    """Change values of a configuration, by ids such as ``train__trainer__max_epochs``; None takes one out."""

    def edit(bundle):
        path = bundle / "configs" / f"{name}.json"
        config = read_json(path)
        for key, value in changes.items():
            *way, last = key.split("__")
            place = config
            for step in way:
                place = place[step]
            if value is None:
                del place[last]
            else:
                place[last] = value
        write_json(path, config)

    return edit


def written(name, text):
    def edit(bundle):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text(text)

    return edit


def removed(name):
    return lambda bundle: (bundle / name).unlink()


def without_import(start):
    def edit(bundle):
        path = bundle / "configs" / "train.json"
        config = read_json(path)
        config["imports"] = [entry for entry in config["imports"] if not entry.startswith(start)]
        write_json(path, config)

    return edit


BROKEN = {
    "file absent": (removed("configs/explain.json"), "file set", "no explain.json"),
    "overlay absent": (removed("configs/multi_gpu_train.json"), "file set", "no multi_gpu_train.json"),
    "empty file": (written("docs/data_license.txt", ""), "file set", "empty: docs/data_license.txt"),
    "weights": (written("configs/model.pt", "x"), "sources alone", "configs/model.pt is committed"),
    "a scan": (written("docs/sub-01_T1w.nii.gz", "x"), "sources alone", "docs/sub-01_T1w.nii.gz is committed"),
    "absolute path": (edited("inference", dataset_dir="/adni"), "plain JSON, no local path", "path of one machine"),
    "path in an expression": (
        edited("train", ckpt_dir="$'/scratch/me' + '/models'"), "plain JSON, no local path", "path of one machine",
    ),
    "home folder": (edited("train", dataset_dir="~/adni"), "plain JSON, no local path", "path of one machine"),
    "path in metadata": (
        edited("metadata", data_source="see /home/me/adni"), "plain JSON, no local path", "path of one machine",
    ),
    "path in the README": (
        written("docs/README.md", "cd /home/me/adni"), "plain JSON, no local path", "docs/README.md names a path",
    ),
    "file macro": (
        edited("evaluate", split="%configs/train.json::split"), "plain JSON, no local path", "relative to the working",
    ),
    "a key twice": (
        written("configs/explain.json", '{"target": 1, "target": 0}'), "plain JSON, no local path", "'target' twice",
    ),
    "no JSON": (written("configs/evaluate.json", "{,}"), "plain JSON, no local path", "evaluate.json is no JSON"),
    "one spelling": (edited("train", training=None), "both spellings", '"training": "%run", got None'),
    "other spelling": (edited("explain", explaining="$@heatmaps"), "both spellings", "got '$@heatmaps'"),
    "module used bare": (without_import("$import monai"), "imports", "uses monai, which `imports` lacks"),
    "undefined package": (
        edited("inference", imports=["$import torch", "$import neuroxai.components"]),
        "imports", "leaves neuroxai undefined",
    ),
    "other key": (edited("train", imports=None), "imports", "train.json: no list `imports`"),
    "no import": (edited("train", imports=["import torch"]), "imports", 'expected "$import x"'),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_can_be_read_off_a_broken_copy_is_named(tmp_path, what):
    break_it, check, message = BROKEN[what]
    bundle = copy_of(AD, tmp_path / "bundle")
    break_it(bundle)
    found = {one.check: one.problem for one in verify(bundle, checks=READING) if one.problem}
    assert check in found
    assert message in found[check]
    # a file that is absent or no JSON fails what reads it too
    if "absent" not in what and what not in ("a key twice", "no JSON"):
        assert list(found) == [check]


def test_committed_weights_are_found_where_runs_write_them(tmp_path):
    bundle = copy_of(AD, tmp_path / "bundle")
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").write_bytes(b"weights")
    for words in (["init", "-q"], ["add", "LICENSE", "configs", "docs"]):
        subprocess.run(["git", *words], cwd=bundle, check=True)
    (result,) = verify(bundle, checks=["sources alone"])
    assert result.problem is None
    subprocess.run(["git", "add", "-f", "models"], cwd=bundle, check=True)
    (result,) = verify(bundle, checks=["sources alone"])
    assert "models/model.pt is committed" in result.problem


def test_large_files_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 1000)
    (result,) = verify(copy_of(AD, tmp_path / "bundle"), checks=["sources alone"])
    assert "name it in large_files.yml" in result.problem


FORMAT = "network_data_format"
METADATA = {
    **{f"no {key}": edited("metadata", **{key: None}) for key in json.loads(properties.SCHEMA.read_text())["required"]},
    "old key": edited("metadata", optional_packages_version={}),
    "neuroxai not pinned": edited("metadata", required_packages_version={"nibabel": "5.4.2"}),
    "other schema": edited("metadata", schema="https://example.org/meta_schema_20220324.json"),
    "version a number": edited("metadata", version=0.1),
    "empty task": edited("metadata", task=""),
    "authors a list": edited("metadata", authors=["a"]),
    "no output": edited("metadata", **{f"{FORMAT}__outputs": {}}),
    "no modality": edited("metadata", **{f"{FORMAT}__inputs__image__modality": None}),
    "no channel_def": edited("metadata", **{f"{FORMAT}__outputs__pred__channel_def": None}),
    "unknown type": edited("metadata", **{f"{FORMAT}__outputs__pred__type": "logits"}),
    "unknown dtype": edited("metadata", **{f"{FORMAT}__inputs__image__dtype": "float"}),
    "half a range": edited("metadata", **{f"{FORMAT}__inputs__image__value_range": [0]}),
    "no shape": edited("metadata", **{f"{FORMAT}__inputs__image__spatial_shape": []}),
    "channels as text": edited("metadata", **{f"{FORMAT}__inputs__image__num_channels": "1"}),
}


@pytest.mark.parametrize("what", METADATA)
def test_metadata_that_break_a_rule_of_the_schema_are_refused(tmp_path, what):
    bundle = copy_of(AD, tmp_path / "bundle")
    schema = json.loads(properties.SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(read_json(bundle / "configs" / "metadata.json"), schema)
    METADATA[what](bundle)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(read_json(bundle / "configs" / "metadata.json"), schema)


@pytest.fixture
def trial_of(tmp_path, tiny_cohort, trained_bundle):
    """Make the trial of a broken copy of the bundle, with weights."""

    def make(break_it=lambda bundle: None):
        source = copy_of(AD, tmp_path / AD.name)
        break_it(source)
        (tmp_path / "scratch").mkdir()
        trial = Trial(source, tmp_path / "scratch", tiny_cohort)
        shutil.copytree(trained_bundle / "models", trial.bundle / "models")
        return trial

    return make


RUN = {
    # what each check must say of which change
    "metadata by MONAI": ("metadata", edited("metadata", name=None), "'name' is a required property"),
    "version not in the changelog": ("metadata", edited("metadata", version="0.2.0"), "not in the changelog"),
    "range of the output": (
        "network in and out",
        edited("metadata", **{f"{FORMAT}__outputs__pred__value_range": [0, 1]}),
        "metadata say [0, 1]",
    ),
    "epochs not run": ("training", edited("train", train__trainer__max_epochs=1), "expected 1 to 2"),
    "other part": ("evaluation", edited("evaluate", split="validation"), "metrics_test.json"),
    "other classes": ("inference", edited("inference", classes=["a", "b"]), "probability_a"),
    "results elsewhere": ("explanation", edited("explain", heatmaps__output_dir="@bundle_root"), "no predictions.tsv"),
}


@pytest.mark.full(0)
@pytest.mark.parametrize("what", RUN)
def test_what_shows_when_a_broken_copy_runs_is_named(trial_of, what):
    check, break_it, message = RUN[what]
    trial = trial_of(break_it)
    if check == "training":
        shutil.rmtree(trial.bundle / "models")
    with pytest.raises((Problem, OSError)) as caught:
        CHECKS[check](trial)
    assert message in str(caught.value)


def test_absent_properties_are_named(trial_of):
    with pytest.raises(Problem, match="no train#inferer"):
        properties.required_properties(trial_of(edited("train", train__inferer=None, train__trainer__inferer=None)))


def test_a_network_of_another_grid_than_the_weights_is_found(trial_of):
    # MONAI leaves out what does not fit, without a word
    with pytest.raises(Problem, match="load gives a network with other head"):
        properties.load_without_data(trial_of(edited("inference", space="$space.mni152(2.0)")))


def test_exports_of_other_logits_are_found(trial_of, monkeypatch):
    trial = trial_of()
    for check, writer in ((exports.pt2, "write_pt2"), (exports.onnx, "write_onnx")):
        check(trial)
        write = getattr(exports, writer)

        def spoilt(network, shape, path, write=write):
            with torch.no_grad():
                next(p for p in network.parameters() if p.ndim == 1).add_(0.1)
            write(network, shape, path)

        monkeypatch.setattr(exports, writer, spoilt)
        with pytest.raises(Problem, match=r"logits differ by .* at batch 1"):
            check(trial)


def test_federated_training_that_keeps_its_own_weights_is_found(trial_of, tmp_path):
    torch.save(ad_cnn(mni152(5).shape, padding="same").state_dict(), tmp_path / "own.pt")
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(tmp_path / "own.pt"),
        "load_dict": {"model": "@network"},
    }

    def break_it(bundle):
        handlers = read_json(bundle / "configs" / "train.json")["train"]["handlers"]
        edited("train", train__handlers=[*handlers, loader])(bundle)

    with pytest.raises(Problem, match="does not start from the weights that a round hands in"):
        CHECKS["federated"](trial_of(break_it))


def test_federated_training_that_learns_nothing_is_found(trial_of):
    with pytest.raises(Problem, match=r"the same after two rounds|returns the weights it got"):
        CHECKS["federated"](trial_of(edited("train", optimizer__lr=0.0, optimizer__weight_decay=0.0)))


@pytest.mark.full(0)
def test_processes_that_share_no_gradients_are_found(trial_of):
    with pytest.raises(Problem, match=r"is .* in the processes' record, .* in one process"):
        processes.two_processes(trial_of(edited("multi_gpu_train", trained_network=None)))


def test_what_needs_weights_says_so(tmp_path, tiny_cohort):
    trial = Trial(AD, tmp_path, tiny_cohort)
    for name in (
        "required properties",
        "second call",
        "load without data",
        "evaluation",
        "inference",
        "explanation",
        "TorchScript",
        ".pt2",
    ):
        with pytest.raises(Problem, match="there are no weights, because the training failed"):
            CHECKS[name](trial)
    with pytest.raises(Problem, match="nothing to resume"):
        processes.two_nodes(trial)


@pytest.mark.full(0)
def test_a_good_bundle_passes():
    code, printed, _ = run("bundle", "verify", "--quick", "--jobs", 1, AD)
    rows = dict(line.strip("| ").split(" | ") for line in printed.splitlines()[2:] if line.startswith("| "))
    assert code == 0, printed
    assert list(rows) == list(CHECKS)
    for name, result in rows.items():
        assert result == "skipped" if name in SLOW else result.startswith("ok "), printed


def test_table_and_exit_codes(tmp_path):
    results = {
        "one": [Outcome("file set", None, 1.0), Outcome("two nodes")],
        "two": [Outcome("file set", "x", 2.0)] * 2,
    }
    assert table(results).splitlines() == [
        "| check | one | two |",
        "|---|---|---|",
        "| file set | ok 1.0 s | FAIL 2.0 s |",
        "| two nodes | skipped | FAIL 2.0 s |",
        "",
        "two: file set: x",
        "two: file set: x",
    ]
    said = run("bundle", "verify", tmp_path)
    assert said.code == 2
    assert "is no bundle" in said.err
    assert "unknown check 'x'" in run("bundle", "verify", AD.name, "--only", "x").err
    bundle = copy_of(AD, tmp_path / "bundle")
    (bundle / "LICENSE").unlink()
    for name, code in (("file set", 1), ("imports", 0)):
        said = run("bundle", "verify", "--only", name, bundle)
        assert said.code == code
        assert ("bundle: file set: no LICENSE" in said.out) == bool(code)
