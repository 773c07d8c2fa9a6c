"""What is asked of an explanation is checked once, wherever it was said."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import nn

from neuroxai.errors import InputError
from neuroxai.explain import ExplainOptions
from neuroxai.space import mni152


def test_what_is_settled_when_options_are_made():
    asked = ExplainOptions.of({"target": "AD", "maps": False, "options": None})
    assert (asked.start, asked.takes_start, asked.native, asked.options) == (None, True, False, {})
    assert not ExplainOptions("saliency").takes_start
    assert asked.for_classes(["CN", "AD"]).target == 1
    assert ExplainOptions(target="predicted").for_classes(["CN", "AD"]).target == "predicted"
    assert ExplainOptions("saliency", target=None).target == 1
    assert ExplainOptions("saliency").start is None
    hidden = ExplainOptions(layer="conv", neuron=(1, 2, 3, 4), conditions={"other": 2}, start="probability")
    assert (hidden.start, hidden.neuron, hidden.conditions) == (None, [1, 2, 3, 4], {"other": [2]})
    assert not hidden.takes_start
    assert replace(hidden) == hidden
    with pytest.raises(FrozenInstanceError):
        hidden.layer = "x"


class Guarded(nn.Sequential):
    """A network whose forward makes tensors, and reads values of its input."""

    def forward(self, x):
        return super().forward(x) * torch.ones(1) if float(x.sum()) > -1e9 else x


@pytest.mark.parametrize("kind", [nn.Sequential, Guarded])
@pytest.mark.parametrize("method", ["lrp_epsilon_plus_flat", "lrp_epsilon", "lrp_alpha_beta"])
def test_the_networks_last_layer_says_where_relevance_starts(kind, method):
    places = kind(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    whole = kind(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)).eval()
    asked = ExplainOptions(method)
    expected = {"lrp_epsilon_plus_flat": ("probability", "logit"), "lrp_epsilon": ("logit", "logit")}
    found = tuple(asked.settled(network, (1, 6, 6, 6)).start for network in (places, whole))
    assert found == expected.get(method, ("probability", "probability"))
    assert replace(asked, start="logit").settled(places, (1, 6, 6, 6)).start == "logit"
    assert ExplainOptions("saliency").settled(places, (1, 6, 6, 6)).start is None
    assert asked.settled(nn.Softmax(1), (1, 6, 6, 6)).start is None  # refused, which the explanation tells


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"method": "tea_leaves"}, "tea_leaves"),
        ({"start": "luck"}, "luck"),
        ({"score_space": "outer"}, "outer"),
        ({"neuron": 3}, "neuron"),
        ({"method": "saliency", "layer": "conv"}, "saliency"),
        ({"method": "grad_cam", "conditions": {"a": 1}}, "grad_cam"),
        ({"targe": 1}, "targe"),
    ],
)
def test_what_cannot_be_is_refused_by_name(asked, named):
    with pytest.raises(InputError, match=named):
        ExplainOptions.of(asked)


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="MCI"):
        ExplainOptions(target="MCI").for_classes(["CN", "AD"])


def test_what_is_noted_of_a_call(tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"")
    run = ExplainOptions("lrp_zero", atlas=None, start="logit").run(str(weights), "bundle", mni152(16))
    # the checksum of nothing
    assert run.checkpoint_sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (run.method, run.explained, run.start, run.atlas) == ("lrp_zero", 1, "logit", None)
    assert run.grid is not None
    assert run.grid.matches(mni152(16))
    assert ExplainOptions(layer="conv").run("", "", mni152(16)).explained is None
