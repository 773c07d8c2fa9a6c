"""Texts reach MONAI's configurations as they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from helpers.bundles import AD, copy_of
from neuroxai.components.command_line import _check_paths
from neuroxai.errors import InputError
from neuroxai.explain.bundle import literal, open_workflow
from neuroxai.io import read_json, write_json

SIGNS = st.text(st.sampled_from("#@%$:'\"\\ ab/é{}\n"), max_size=12) | st.text(max_size=12)


@given(SIGNS)
def test_any_text_comes_out_as_it_went_in(text):
    parser = ConfigParser()
    parser.update({"root": literal(text), "below": "$@root + '/data'", "nested": {"path": "@root"}})
    parser.parse()
    assert parser.get_parsed_content("root") == text
    assert parser.get_parsed_content("below") == text + "/data"
    assert parser.get_parsed_content("nested") == {"path": text}


@pytest.mark.parametrize("value", ["a/b#1", "#", "@here", "%here", "a@::b", "a/%#b"])
def test_a_path_that_monai_would_change_is_refused(value):
    for arguments in (["--ckpt_dir", value], [f"--ckpt_dir={value}"]):
        with pytest.raises(InputError, match=r"--ckpt_dir .*rename the folder"):
            _check_paths(["run", "training", *arguments])
    _check_paths(
        ["run", "--ckpt_dir", "$@bundle_root + '/a'", "--network_def#dropout", "0.1", "--dataset_dir", "a@b%c"]
    )


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        ({"part": "test"}, "part", "split"),
        ({"own": {"_target_": "neuroxai.components.ToSpaced"}}, "ToSpaced", "neuroxai.components.ResampleToSpaced"),
    ],
)
def test_a_bundle_of_former_names_is_refused_with_the_new_one(tmp_path, change, old, new):
    bundle = copy_of(AD, tmp_path / "bundle")
    inference = bundle / "configs" / "inference.json"
    write_json(inference, read_json(inference) | change)
    with pytest.raises(InputError) as caught:
        open_workflow(bundle, ["inference.json"])
    assert all(word in str(caught.value) for word in (str(inference), old, new))
    with pytest.raises(InputError, match="split"):
        open_workflow(copy_of(AD, tmp_path / "other"), ["inference.json"], part="test")


# what stops a training in one line is tried in tests/e2e/test_kill_training.py, the paths refused above
@pytest.mark.full(0)
def test_a_training_into_such_a_folder_makes_nothing(tmp_path, tiny_cohort):
    bundle = copy_of(AD, tmp_path / "bundle")
    paths = {"bundle_root": bundle, "dataset_dir": tiny_cohort, "ckpt_dir": tmp_path / "a#1"}
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.json"]
    command += [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: --ckpt_dir" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle"]
