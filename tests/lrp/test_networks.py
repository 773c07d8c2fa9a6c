"""LRP on networks of many kinds, against LRP-0 written a second time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from helpers.importable import importable
from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import LRP, Epsilon, composites
from oracles.lrp_zero import lrp_zero

REFUSED = {"vmap": "vmap"}
EXPERIMENTS = Path(__file__).resolve().parents[2] / "scripts" / "experiments"


def _networks():
    sys.path.append(str(EXPERIMENTS))
    try:
        spec = importlib.util.spec_from_file_location("experiment_networks", EXPERIMENTS / "networks.py")
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXPERIMENTS))
    return module.NETWORKS


NETWORKS = _networks()


def test_there_are_sixty_and_twenty_of_them_are_written_by_hand():
    assert len(NETWORKS) >= 60
    assert sum(name[0].islower() or name[0] in "*S" for name in NETWORKS) >= 20


@pytest.mark.filterwarnings("ignore::neuroxai.lrp.conservation.ConservationWarning")
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.label if network.needs == "torchvision" else ())
        for name, network in NETWORKS.items()
        if not network.large
    ],
)
def test_relevance_is_gradient_times_input_with_gates_and_ratios_held(name):
    network = NETWORKS[name]
    if network.needs and not importable(network.needs):
        pytest.skip(f"{network.needs} cannot be imported")
    model, inputs = network.make(), network.inputs()
    plain = network.plain(model) if network.plain else model
    with torch.no_grad():
        target = model(*inputs).shape[1] - 1
    lrp = LRP(model, composites.everywhere(Epsilon(0.0)))
    if name in REFUSED:
        with pytest.raises(UnsupportedLayerError, match=REFUSED[name]):
            lrp.attribute(inputs, target)
        return
    found = lrp.attribute(inputs, target, start="logit")
    for place, (relevance, x) in enumerate(zip(found, inputs, strict=True)):
        wanted = lrp_zero(plain, x, target, network.gates, before=inputs[:place], more=inputs[place + 1 :])
        scale = float(wanted.abs().max())
        assert scale > 0
        torch.testing.assert_close(relevance / scale, network.kept * wanted / scale, rtol=0, atol=1e-7)
