"""What all bundles have in common stands alike in all of them: each file stands alone, and so repeats the others."""

from __future__ import annotations

import json

import pytest

from helpers.bundles import AD, REPOSITORY

BUNDLES = sorted(path.parents[1] for path in REPOSITORY.glob("bundles/*/configs/metadata.json"))
FIRST = AD
OTHERS = [bundle for bundle in BUNDLES if bundle != FIRST]
FILES = ("evaluate", "explain", "explain_filters", "inference", "metadata", "multi_gpu_train", "train")

# what a study decides: these differ, and anything else does not
CHOICE = {"model", "patch_shape", "of_patches", "recorded", "normalisation", "padding", "network_def", "imports"}
OWN = {
    "train": CHOICE
    | {"pretrained", "pretrained_head", "patience", "min_epochs", "ignored_epochs", "learning_rate"}
    | {"learning_rate_decay", "weight_decay", "l2", "dropout", "flip_probability", "shift_axis"}
    | {"network", "optimizer", "settings", "train"},
    "evaluate": CHOICE,
    "inference": CHOICE | {"classes"},
    "explain": {"method", "method_options", "start"},
    "explain_filters": {"method", "method_options", "layer"},
    "multi_gpu_train": set(),
}


def config(bundle, name):
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


def without(values, keys):
    return {key: value for key, value in values.items() if key not in keys}


def named(bundle):
    return bundle.name


def test_there_are_three():
    assert len(BUNDLES) == 3


@pytest.mark.parametrize("bundle", BUNDLES, ids=named)
def test_the_files_are_there(bundle):
    wanted = [f"configs/{name}.json" for name in FILES]
    wanted += ["configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE"]
    assert [name for name in wanted if not (bundle / name).is_file()] == []


@pytest.mark.parametrize("name", sorted(OWN))
@pytest.mark.parametrize("bundle", OTHERS, ids=named)
def test_what_no_study_decides_is_the_same(bundle, name):
    assert without(config(bundle, name), OWN[name]) == without(config(FIRST, name), OWN[name])


@pytest.mark.parametrize("bundle", OTHERS, ids=named)
def test_training_differs_by_its_handlers_alone(bundle):
    ours, theirs = config(bundle, "train")["train"], config(FIRST, "train")["train"]
    assert without(ours, {"handlers"}) == without(theirs, {"handlers"})
    handlers = [without(handler, {"ignored_epochs"}) for handler in ours["handlers"]]
    assert [handler for handler in theirs["handlers"] if handler not in handlers] == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=named)
def test_a_run_s_settings_hold_every_option_that_changes_its_result(bundle):
    """Of the options at the top, those left out do not change what is learned."""
    train = config(bundle, "train")
    derived = {
        "space",
        "device",
        "network",
        "network_def",
        "trained_network",
        "classes",
        "of_patches",
        "amp",
        "training",
    }
    options = [key for key, value in train.items() if not isinstance(value, dict) and key not in derived]
    harmless = {"imports", "initialize", "run", "bundle_root", "dataset_dir", "datalist", "output_dir", "ckpt_dir"}
    harmless |= {"resume", "pretrained", "max_epochs", "patience", "min_epochs", "ignored_epochs", "batch_size"}
    harmless |= {"checkpointing", "compile", "cache", "cache_dir", "num_workers", "tensorboard", "val_interval"}
    harmless |= {"device_name"}
    assert [key for key in options if key not in train["settings"] and key not in harmless] == []
    assert "total_batch_size" in train["settings"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=named)
def test_metadata_names_what_it_needs(bundle):
    metadata = config(bundle, "metadata")
    first = config(FIRST, "metadata")
    same = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version")
    assert {key: metadata[key] for key in same} == {key: first[key] for key in same}
    assert "not a medical device" in metadata["intended_use"]
