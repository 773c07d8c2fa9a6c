"""What training is told of the network stands in its record, and whoever opens the bundle builds the same network."""

from __future__ import annotations

import json
import re

import pytest
import torch

from helpers.bundles import AD, MS, SEX, copy_of, train
from helpers.thirds import sampled
from neuroxai import io
from neuroxai.explain import OpenBundle
from neuroxai.explain.bundle import open_workflow

ONLY_IN_TRAINING = {"dropout", "checkpointing"}  # make no difference to a network that is only asked
# the voxel sizes are fine enough for valid convolutions, so that "same" is a choice
OPTIONS = {
    AD: {"spacing": 2.4, "padding": "same", "dropout": 0.1, "checkpointing": True},
    MS: {"spacing": 2.7, "padding": "same", "dropout": 0.1, "checkpointing": True},
    SEX: {"spacing": 3, "padding": "same", "dropout": 0.0, "checkpointing": True}
    | {"model": "model_b_pif", "patch_shape": [3, 4, 3]},
}
NORMALISATION = {AD: "zscore", MS: "minmax", SEX: "zscore"}


def config(bundle, name):
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


def reaching(values, name="network_def"):
    """What one value of a configuration is made of, found by its references."""
    found, pending = set(), [name]
    while pending:
        for other in re.findall(r"@(\w+)", json.dumps(values[pending.pop()])):
            if other in values and other not in found:
                found.add(other)
                pending.append(other)
    return found


@pytest.fixture(scope="module")
def few(tiny_cohort, tmp_path_factory):
    """A datalist of two scans a part, one of each class."""
    datalist = io.read_json(tiny_cohort / "datalist.json")
    for part in ("training", "validation", "test"):
        datalist[part] = [next(i for i in datalist[part] if i["label"] == label) for label in (0, 1)]
        for item in datalist[part]:
            item["image"] = str(tiny_cohort / item["image"])
    return datalist


@pytest.mark.parametrize("bundle", OPTIONS, ids=lambda bundle: bundle.name)
def test_the_options_tried_are_all_that_reach_the_network(bundle):
    own = config(bundle, "train")
    derived = {name for name in reaching(own) if str(own[name]).startswith("$")} - {"dropout"}
    assert reaching(own) - derived == set(OPTIONS[bundle])
    for name in ("inference", "evaluate"):
        values = {**config(bundle, "train"), **config(bundle, name)}
        assert "record" in reaching(values)
        for option in set(OPTIONS[bundle]) - ONLY_IN_TRAINING - {"spacing"}:
            assert f"get('{option}'" in values[option], (name, option)
        assert "recorded_space" in values["space"]


@pytest.mark.parametrize("bundle", sampled(OPTIONS, 3), ids=lambda bundle: bundle.name)
def test_a_bundle_trained_with_every_option_is_opened_and_explains(bundle, few, tiny_cohort, tmp_path):
    trained = copy_of(bundle, tmp_path / "bundle")
    datalist = io.write_json(tmp_path / "datalist.json", few)
    options = {**OPTIONS[bundle], "normalisation": NORMALISATION[bundle]}
    workflow = train(
        trained, tiny_cohort, max_epochs=1, batch_size=2, datalist=str(datalist), tensorboard=False, **options
    )
    network = workflow.network_def.eval()
    settings = io.read_json(trained / "models" / "model.json")["settings"]
    assert {key: settings.get(key) for key in ("padding", "normalisation")} == {
        key: options[key] for key in ("padding", "normalisation")
    }
    scan = few["test"][0]["image"]
    explainer = OpenBundle(trained)
    batch = explainer.model.prepared({"image": scan, "participant_id": "sub-1"})
    with torch.no_grad():
        torch.testing.assert_close(explainer.model.network(batch.tensor), network(batch.tensor), rtol=1e-4, atol=1e-5)
    found = explainer.explain(scan)
    assert found.on_network.data.any()
    evaluated = open_workflow(
        trained, ["train.json", "evaluate.json"], dataset_dir=str(tiny_cohort), datalist=str(datalist)
    )
    evaluated.run()
    assert (trained / "eval" / "metrics_test.json").is_file()
