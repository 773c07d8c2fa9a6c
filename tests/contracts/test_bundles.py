"""What all bundles have in common stands alike in all of them: each file stands alone, and so repeats the others."""

from __future__ import annotations

import json

import pytest
from packaging.requirements import Requirement

from helpers.bundles import AD, REPOSITORY
from neuroxai._version import __version__
from neuroxai.space import mni152

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
    | {"network", "optimizer", "options", "settings", "train"},
    "evaluate": CHOICE,
    "inference": CHOICE | {"classes"},
    "explain": {"method", "method_options", "initial_relevance"},
    "explain_filters": {"method", "method_options", "layer"},
    "multi_gpu_train": set(),
}


def config(bundle, name):
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


def without(values, keys):
    return {key: value for key, value in values.items() if key not in keys}


def named(bundle):
    return bundle.name


@pytest.mark.parametrize("bundle", BUNDLES, ids=named)
def test_the_metadata_ask_for_the_versions_that_the_constraints_pin(bundle):
    facts = config(bundle, "metadata")
    asked = {"monai": facts["monai_version"], "torch": facts["pytorch_version"], "numpy": facts["numpy_version"]}
    asked |= facts["required_packages_version"]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    newest = {"python_version": "3.12"}
    pinned = {pin.name: str(pin.specifier) for pin in pins if pin.marker is None or pin.marker.evaluate(newest)}
    assert asked.pop("neuroxai") == __version__
    assert {name: f"=={version}" for name, version in asked.items()} == {name: pinned[name] for name in asked}


@pytest.mark.parametrize("bundle", BUNDLES, ids=named)
def test_the_metadata_describe_what_the_network_gives(bundle):
    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser["space"] = mni152(5.0)
    parser["bundle_root"] = str(bundle)
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval()
    with torch.no_grad():
        given = network(1e3 * torch.randn(4, 1, *mni152(5.0).shape, generator=torch.Generator().manual_seed(0)))
    pred = config(bundle, "metadata")["network_data_format"]["outputs"]["pred"]
    assert list(given.shape[1:]) == [pred["num_channels"]]
    # no probabilities: they leave 0 to 1, and two of them do not sum to 1
    assert float(given.max()) > 1 or float(given.min()) < 0
    assert (pred["type"], pred["value_range"]) == ("tuples", [])
    assert all(name.startswith("logit of ") for name in pred["channel_def"].values())


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
        "pairs",
        "amp",
        "training",
        "augmented",
    }
    options = [key for key, value in train.items() if not isinstance(value, dict) and key not in derived]
    harmless = {"imports", "initialize", "run", "bundle_root", "dataset_dir", "datalist", "output_dir", "ckpt_dir"}
    harmless |= {"resume", "pretrained", "max_epochs", "patience", "min_epochs", "ignored_epochs", "batch_size"}
    harmless |= {"checkpointing", "compile", "cache", "cache_dir", "num_workers", "tensorboard", "val_interval"}
    harmless |= {"device_name", "accept_unfit"}
    settings = train["settings"] | train["settings"]["relevance"]
    recorded = {*settings, *(str(value).removeprefix("@") for value in settings.values())}
    assert [key for key in options if key not in recorded and key not in harmless] == []
    assert "total_batch_size" in train["settings"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=named)
def test_metadata_names_what_it_needs(bundle):
    metadata = config(bundle, "metadata")
    first = config(FIRST, "metadata")
    same = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version")
    assert {key: metadata[key] for key in same} == {key: first[key] for key in same}
    assert "not a medical device" in metadata["intended_use"]
