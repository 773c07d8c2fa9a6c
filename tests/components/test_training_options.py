"""Options of a training are looked at as a whole, and by MONAI's command line those that nobody knows are refused."""

from __future__ import annotations

import json

import pytest
from monai.bundle import ConfigParser

from helpers.bundles import AD, MS, SEX
from neuroxai.components.command_line import check_ids
from neuroxai.components.training_options import CHECKS, check_options, flag
from neuroxai.errors import InputError


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("seed", [-1, 1.5, "x", 2**32], [0, 7]),
        ("spacing", [0, 17, "2", True, float("nan")], [0.5, 2, 4.0]),
        ("max_epochs", [0, 2.5, "3", True], [1, 200]),
        ("batch_size", [0, -4], [1]),
        ("learning_rate", [-1e-3, float("inf"), "1e-3x"], [1e-4, 1]),
        ("dropout", [1, 1.5, -0.1], [0, 0.99]),
        ("flip_probability", [1.01, "half"], [0.0, 1]),
        ("max_shift", [-1, 1.5], [0, 2]),
        ("shift_axis", [3, [0, 0], [], "x", True], [0, [0, 1], (2,)]),
        ("patch_shape", [0, [5, 5], 2.5], [5, [5, 4, 3], None]),
        ("l2", [{"conv3": -1}, 0.01, {3: 0.1}], [{}, {"conv3": 0.01}]),
        ("class_balance", ["weights", None], ["none", "loss", "sampling"]),
        ("key_metric", ["sensitivity", None], ["roc_auc", "val_loss"]),
        ("pair_by", ["", None, 3], ["auto", "none", "twin"]),
        ("normalisation", ["z", 1], ["zscore"]),
        ("model", ["model_c", 5], ["model_a_pif"]),
        ("pretrained", ["absent/model.pt", 3], [None, ""]),
        ("resume", ["no", 1, None], [True, "false", "True"]),
    ],
)
def test_each_option_by_itself(name, bad, good):
    for value in good:
        check_options({name: value})
    for value in bad:
        with pytest.raises(InputError) as caught:
            check_options({name: value})
        assert all(word in str(caught.value) for word in (f"--{name} is {value!r}", CHECKS[name][1]))


def test_options_that_do_not_go_together():
    check_options({"max_epochs": 3, "val_interval": 3})
    with pytest.raises(InputError, match="--val_interval is 4"):
        check_options({"max_epochs": 3, "val_interval": 4})
    # 48 x 57 x 48 voxels at 4 mm: a quarter is 12 along the first axis, 14 along the second
    check_options({"spacing": 4, "max_shift": 12, "shift_axis": [0, 1]})
    check_options({"spacing": 4, "max_shift": 14, "shift_axis": 1})
    with pytest.raises(InputError, match="--max_shift is 13, expected at most 12"):
        check_options({"spacing": 4, "max_shift": 13, "shift_axis": [0, 1]})


def test_a_text_is_no_yes():
    assert [flag(value) for value in (True, False, "true", "False")] == [True, False, True, False]
    for value in ("no", 0, None, "yes"):
        with pytest.raises(InputError):
            flag(value)


@pytest.mark.parametrize("bundle", [AD, MS, SEX])
def test_each_bundle_has_all_its_options_looked_at_before_anything_else(bundle):
    train = json.loads((bundle / "configs" / "train.json").read_text())
    assert set(train["options"]) == set(CHECKS) & set(train)
    check_options({name: ConfigParser(train).get_parsed_content(name) for name in train["options"] if name != "space"})
    for name in ("train.json", "multi_gpu_train.json"):
        steps = json.loads((bundle / "configs" / name).read_text())["initialize"]
        assert steps[:2] == ["$components.plain_errors()", "$components.check_options(@options)"]


def test_an_unknown_option_of_the_command_line_is_refused(tmp_path):
    config = str(AD / "configs" / "train.json")
    known = [
        "training",
        "--config_file",
        config,
        "--max-epochs",
        "3",
        "--train#trainer#amp=False",
        "--bundle_root",
        "x",
    ]
    check_ids(known)
    check_ids([*known, "--tracking", "mlflow", "--tracking_uri", "here"])
    for option, near in (
        ("--max_epoch", "--max_epochs"),
        ("--learningrate=1", "--learning_rate"),
        ("--drop_out", "--dropout"),
    ):
        with pytest.raises(InputError) as caught:
            check_ids([*known, option, "3"])
        assert all(word in str(caught.value) for word in (option.partition("=")[0], near))
    with pytest.raises(InputError, match="tracking_uri"):
        check_ids([*known, "--tracking_uri", "here"])
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"config_file": config, "spacings": 4}))
    with pytest.raises(InputError, match="--spacings"):
        check_ids(["training", "--args_file", str(arguments)])
    both = f"['{config}','{AD / 'configs' / 'multi_gpu_train.json'}']"
    check_ids(["--config_file", both, "--timeout", "5"])


@pytest.mark.parametrize(("old", "new"), [("--part", "--split"), ("--start", "--initial_relevance")])
def test_options_by_their_former_names_are_refused_with_the_new_one(old, new):
    files = [str(AD / "configs" / name) for name in ("inference.json", "explain.json")]
    known = ["explaining", "--config_file", str(files)]
    check_ids([*known, f"{new}=1"])
    with pytest.raises(InputError) as caught:
        check_ids([*known, f"{old}=1"])
    assert all(name in str(caught.value) for name in (old, new))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"part": "validation"}', "part is called split"),
        (
            '{"own": [{"_target_": "neuroxai.components.Checkpoints"}]}',
            "is called neuroxai.components.CheckpointHandler",
        ),
        ('{"ckpt_dir": "/data/#1"}', r"--ckpt_dir /data/#1: MONAI's configurations take '#'"),
        ('{"dataset_dir": "/data/@::1"}', r"--dataset_dir /data/@::1"),
        ('{"max_epochs": 1, "max_epochs": 2}', "key 'max_epochs' stands 2 times"),
        ('{"train": {"amp": true, "amp": false}}', "key 'amp' stands 2 times"),
        ("[1]", "is no configuration"),
        ('{"ckpt_dir": "@bundle_root", "output_dir": "$@bundle_root + \'#\'", "seed": 3}', ""),
    ],
)
def test_the_users_own_files_are_held_to_the_same(tmp_path, text, words):
    config, own = str(AD / "configs" / "train.json"), tmp_path / "own.json"
    own.write_text(text)
    ways = [["training", "--config_file", f"['{config}','{own}']"]]
    if not text.startswith("["):
        ways.append(["training", "--config_file", config, "--args_file", str(own)])
    for arguments in ways:
        if words:
            with pytest.raises(InputError, match=words):
                check_ids(arguments)
        else:
            check_ids(arguments)
