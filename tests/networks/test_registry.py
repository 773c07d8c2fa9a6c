"""The published networks by name."""

from __future__ import annotations

import inspect

import pytest
import torch

from neuroxai import networks
from neuroxai.errors import InputError, SpaceError

GRID = (96, 114, 96)


def test_names_are_the_published_networks_of_the_package():
    assert networks.names() == ("ad_cnn", "model_a", "model_a_pif", "model_b", "model_b_pif", "ms_cnn", "patch_cnn")
    assert set(networks.names()) < set(networks.__all__)


@pytest.mark.parametrize("name", networks.names())
def test_create_builds_what_the_function_builds(name):
    torch.manual_seed(0)
    created = networks.create(name, GRID)
    torch.manual_seed(0)
    built = getattr(networks, name)(GRID)
    state = built.state_dict()
    assert list(created.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in created.state_dict().items())
    assert str(created) == str(built)


@pytest.mark.parametrize("name", networks.names())
def test_create_takes_every_option_of_the_network(name):
    function = getattr(networks, name.replace("model_b", "model_a"))
    options = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    options.pop("name", None)
    model = networks.create(name, list(GRID), 2, 3, **options | {"checkpointing": True})
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, 2, *GRID)).shape == (1, 3)
    assert any(getattr(module, "checkpointing", False) for module in model.modules())


@pytest.mark.parametrize("name", networks.names())
def test_without_a_number_of_classes_the_papers_number(name):
    assert networks.create(name, GRID, num_classes=None).num_classes == (2 if name == "ad_cnn" else 1)


def test_an_unknown_name_lists_all():
    with pytest.raises(InputError, match=r"unknown network 'resnet'; choose one of: .*") as caught:
        networks.create("resnet", GRID)
    assert all(name in str(caught.value) for name in networks.names())


@pytest.mark.parametrize(
    ("name", "option"), [("ad_cnn", "overlap"), ("model_b", "patch_shape"), ("model_b", "nam"), ("patch_cnn", "design")]
)
def test_an_unknown_option_is_refused_by_name(name, option):
    with pytest.raises(InputError, match=f"'{name}' has no option '{option}'; its options are: .*checkpointing"):
        networks.create(name, GRID, **{option: 1})


def test_a_grid_too_small_is_refused():
    with pytest.raises(SpaceError, match="ad_cnn: the grid"):
        networks.create("ad_cnn", (20, 20, 20))
