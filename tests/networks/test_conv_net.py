from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError, SpaceError
from neuroxai.networks import Block, ConvNet, ad_cnn, ms_cnn, smallest_grid


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("build", "shape", "count"),
    [
        (ad_cnn, (193, 229, 193), 728_898),
        (ad_cnn, (96, 114, 96), 89_922),
        (ms_cnn, (96, 114, 96), 333_889),
    ],
)
def test_parameter_counts_are_the_published_ones(build, shape, count):
    assert parameters(build(shape)) == count


@pytest.mark.parametrize(("build", "outputs"), [(ad_cnn, 2), (ms_cnn, 1)])
def test_forward_at_the_reduced_grid_gives_logits(build, outputs):
    network = build((96, 114, 96)).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 1, 96, 114, 96)).shape == (2, outputs)


def test_layers_stand_in_the_order_of_the_paper():
    names = [n for n, _ in ad_cnn((96, 114, 96)).features.named_children()]
    assert names[:4] == ["conv1", "norm1", "act1", "pool1"]
    assert [type(m).__name__ for m in ad_cnn((96, 114, 96)).head] == [
        "Flatten", "Dropout", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
    assert "pool3" not in dict(ms_cnn().features.named_children())


@pytest.mark.parametrize(("padding", "least"), [(0, 78), ("same", 36)])
def test_the_smallest_grid_is_named_and_works(padding, least):
    network = ad_cnn((least,) * 3, padding=padding).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, least, least, least)).shape == (1, 2)
    with pytest.raises(SpaceError, match=rf"at least {least} voxels"):
        ad_cnn((least, least - 1, least), padding=padding)


def test_a_coarse_grid_is_told_about_padding():
    with pytest.raises(SpaceError, match="padding='same'"):
        ad_cnn((48, 57, 48))
    assert parameters(ad_cnn((48, 57, 48), padding="same")) > 0


@given(
    st.lists(
        st.builds(
            Block,
            channels=st.integers(1, 3),
            pool=st.none() | st.integers(2, 4),
            stride=st.none() | st.integers(1, 3),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([0, "same"]),
)
def test_smallest_grid_is_exactly_where_the_forward_pass_begins_to_work(blocks, padding):
    least = max(smallest_grid(blocks, padding), 1)
    network = ConvNet((least,) * 3, blocks, padding=padding, norm=False)
    assert network(torch.rand(1, 1, least, least, least)).shape == (1, 2)
    if least > 1:
        with pytest.raises((RuntimeError, ValueError)):
            network.features(torch.rand(1, 1, least - 1, least - 1, least - 1))


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="activation 'sine'"):
        ConvNet((8, 8, 8), [Block(2)], activation="sine")
    with pytest.raises(InputError, match="padding is 1"):
        ConvNet((8, 8, 8), [Block(2)], padding=1)
    with pytest.raises(InputError, match="0 logits"):
        ad_cnn((96, 114, 96), num_classes=0)
    with pytest.raises(SpaceError, match="three axis lengths"):
        ad_cnn((96, 114))


def test_building_a_network_draws_from_torch_alone_and_seeds_nothing():
    torch.manual_seed(3)
    first = ad_cnn((96, 114, 96)).state_dict()
    second = ad_cnn((96, 114, 96)).state_dict()
    torch.manual_seed(3)
    third = ad_cnn((96, 114, 96)).state_dict()
    assert torch.equal(first["features.conv1.weight"], third["features.conv1.weight"])
    assert not torch.equal(first["features.conv1.weight"], second["features.conv1.weight"])
