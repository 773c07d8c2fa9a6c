"""Recomputing the receptive field gives what the whole network gives, whatever the network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

from helpers.draws import COSTLY
from neuroxai.attribution.occlusion.boxes import Boxes, paste, windows
from neuroxai.attribution.occlusion.occlusion import Occlusion as occlusion
from neuroxai.attribution.occlusion.occlusion import RegionOcclusion as region_occlusion
from neuroxai.errors import UnsupportedLayerError
from oracles.occlusion import one_by_one, region_drops

GRIDS = {1: (23,), 2: (13, 10), 3: (9, 7, 8)}


class Residual(nn.Module):
    def __init__(self, axes, channels, how):
        super().__init__()
        self.body = getattr(nn, f"Conv{axes}d")(channels, channels, 3, padding="same")
        self.how = how

    def forward(self, x):
        y = F.relu(self.body(x))
        if self.how == "sum":
            return x + y
        if self.how == "in place":
            y += x
            return y
        if self.how == "gate":
            return x * torch.sigmoid(y) - 0.5 * y
        return torch.cat([y, x], dim=1)


class Squeeze(nn.Module):
    """A channel attention: not local."""

    def __init__(self, channels, axes):
        super().__init__()
        self.fc, self.ones = nn.Linear(channels, channels), (1,) * axes

    def forward(self, x):
        gate = torch.sigmoid(self.fc(x.flatten(2).mean(2)))
        return x * gate.view(x.size(0), x.size(1), *self.ones)


@st.composite
def networks(draw):
    """A random network, its grid, and what it was drawn from."""
    axes = draw(st.sampled_from([1, 2, 3]))
    grid = tuple(draw(st.integers(n - 3, n)) for n in GRIDS[axes])
    channels = draw(st.sampled_from([1, 2]))
    x = torch.zeros(1, channels, *grid)
    torch.manual_seed(draw(st.integers(0, 99)))
    layers = []
    few = st.integers(1, 2)
    kinds = ["conv", "conv", "conv", "norm", "activation", "max", "max", "mean", "residual", "other"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=6)):
        now = x.shape[1]
        if kind == "conv":
            stride = draw(few)
            padding = draw(st.sampled_from([0, 1, 2, "same"])) if stride == 1 else draw(st.integers(0, 2))
            kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
            options = {"stride": stride, "padding": padding, "dilation": draw(few), "bias": draw(st.booleans())}
            groups = draw(st.sampled_from([1, now]))
            mode = draw(st.sampled_from(["zeros", "zeros", "zeros", "replicate"]))
            layer = getattr(nn, f"Conv{axes}d")(now, 2 * now, kernel, groups=groups, padding_mode=mode, **options)
        elif kind == "max":
            kernel, ceil = draw(st.integers(2, 3)), draw(st.booleans())
            padding, dilation = draw(st.integers(0, kernel // 2)), draw(few)
            layer = getattr(nn, f"MaxPool{axes}d")(kernel, draw(st.integers(1, 4)), padding, dilation, ceil_mode=ceil)
        elif kind == "mean":
            kernel, ceil = draw(st.integers(2, 3)), draw(st.booleans())
            include, padding = draw(st.booleans()), draw(st.integers(0, 1))
            layer = getattr(nn, f"AvgPool{axes}d")(kernel, draw(st.integers(1, 3)), padding, ceil, include)
        elif kind == "norm":
            layer = getattr(nn, f"BatchNorm{axes}d")(now)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
        elif kind == "activation":
            layer = draw(st.sampled_from([nn.ReLU(), nn.ReLU(inplace=True), nn.ELU(), nn.PReLU(now), nn.Dropout()]))
        elif kind == "residual":
            layer = Residual(axes, now, draw(st.sampled_from(["sum", "in place", "gate", "cat"])))
        else:
            layer = draw(st.sampled_from([getattr(nn, f"InstanceNorm{axes}d")(now), Squeeze(now, axes), nn.Softmax(1)]))
        try:
            after = layer.eval()(x.clone())
        except (RuntimeError, ValueError):  # the grid has become too small for it
            continue
        if after.shape[1] > 16 or not after.isfinite().all():  # a pooling window within the padding alone
            continue
        layers.append(layer)
        x = after
    if draw(st.booleans()):
        layers.append(getattr(nn, f"AdaptiveAvgPool{axes}d")(1))
    model = nn.Sequential(*layers, nn.Flatten()).eval()
    width = model(torch.zeros(1, channels, *grid)).shape[1]
    return nn.Sequential(*model, nn.Linear(width, 3)).double().eval(), (channels, *grid)


@COSTLY
@given(networks(), st.data())
def test_boxes_equal_the_loop(drawn, data):
    model, shape = drawn
    grid = shape[1:]
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    patch = [data.draw(st.integers(1, n), label="patch") for n in grid]
    patch = [max(p, n // 3) for p, n in zip(patch, grid, strict=True)]  # the loop must end
    stride = [data.draw(st.integers(max(p - 1, 1), p), label="stride") for p in patch]
    options = {
        "patch": patch,
        "stride": stride,
        "value": 0.25,
        "perturbations_per_eval": data.draw(st.sampled_from([None, 2])),
    }
    with torch.no_grad():
        wanted = one_by_one(lambda v: model(v)[:, 1], x, patch, stride, 0.25)
        scale = float(model(x).abs().max()) + 1
    for recompute in ("receptive_field", "all", "auto"):
        got = occlusion(model, **options, recompute=recompute).attribute(x, 1)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10 * scale)
    single = model.float()
    got = occlusion(single, **options, recompute="receptive_field").attribute(x.float(), 1)
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=1e-5 * scale)


@COSTLY
@given(networks(), st.integers(0, 99))
def test_regions_equal_the_loop(drawn, seed):
    model, shape = drawn
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, shape[1:], generator=generator)
    labels[0] = 7  # a compact region beside scattered ones
    values = [int(v) for v in labels.unique() if v]
    with torch.no_grad():
        wanted = region_drops(lambda v: model(v)[:, 2], x, labels, values)
        scale = float(model(x).abs().max()) + 1
    for recompute in ("receptive_field", "all", "auto"):
        drops, found = region_occlusion(model, labels=labels, recompute=recompute).scores(x, 2)
        assert found == tuple(values)
        torch.testing.assert_close(drops[0], wanted, rtol=0, atol=1e-10 * scale)


def ad_like(blocks=((4, 2), (6, 3))):
    torch.manual_seed(1)
    layers, now = [], 1
    for channels, pool in blocks:
        layers += [nn.Conv3d(now, channels, 3), nn.BatchNorm3d(channels), nn.ReLU(), nn.MaxPool3d(pool)]
        now = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(now * 3 * 4 * 3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def test_only_what_differs_is_run(monkeypatch):
    """Counts voxels that go through the first convolution: those of the boxes, and not the grid's."""
    model, seen = ad_like(), []
    x = torch.rand(1, 1, 24, 30, 24)
    plain = F.conv3d

    def counting(v, *args, **kwargs):
        seen.append(v.numel() if v.shape[1] == 1 else 0)
        return plain(v, *args, **kwargs)

    monkeypatch.setattr(F, "conv3d", counting)  # what is recorded, whole inputs and boxes run
    method = occlusion(model, patch=6)
    got = method.attribute(x, 1)
    seen.clear()
    assert torch.equal(method.attribute(x, 1), got)
    patches = 4 * 5 * 4
    assert sum(seen) <= x.numel() + patches * (6 + 4) ** 3
    assert sum(seen) < patches * x.numel() / 10
    seen.clear()
    torch.testing.assert_close(occlusion(model, patch=6, recompute="all").attribute(x, 1), got, rtol=0, atol=1e-5)
    assert sum(seen) >= patches * x.numel()


def test_large_parts_run_whole_inputs(monkeypatch):
    def refuse(*_):
        raise AssertionError("boxes used")

    monkeypatch.setattr("neuroxai.attribution.occlusion.incremental.Incremental.changed", refuse)
    model, x = ad_like(), torch.rand(1, 1, 24, 30, 24)
    occlusion(model, patch=30).attribute(x, 1)
    with pytest.raises(AssertionError, match="boxes used"):
        occlusion(model, patch=4).attribute(x, 1)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(24, 2)

    def forward(self, x):
        return torch.stack([self.fc(v.flatten()) if v.sum() > 0 else -self.fc(v.flatten()) for v in x])


class Shared(nn.Module):
    """Writes into a tensor that is read again."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(24, 2)

    def forward(self, x):
        y = x * 2
        torch.relu_(y)
        return self.fc(y.flatten(1))


class Counting(nn.Module):
    """Depends on state of its own."""

    def __init__(self):
        super().__init__()
        self.fc, self.calls = nn.Linear(24, 2), 0

    def forward(self, x):
        self.calls += 1
        return self.fc(x.flatten(1)) * (1 if self.calls < 3 else 5)


@pytest.mark.parametrize("kind", [Branching, Shared, Counting])
def test_networks_that_are_hard_to_follow(kind):
    torch.manual_seed(0)
    model = kind().double().eval()
    x = torch.randn(1, 2, 2, 2, 3, dtype=torch.float64)
    if kind is Counting:
        model.calls = 9
    with torch.no_grad():
        wanted = one_by_one(lambda v: model(v)[:, 1], x, (1, 2, 2), (1, 2, 2))
    got = occlusion(model, patch=(1, 2, 2)).attribute(x, 1)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    if kind is Branching:
        with pytest.raises(UnsupportedLayerError, match="may take another branch; use recompute='auto'"):
            occlusion(model, patch=(1, 2, 2), recompute="receptive_field").attribute(x, 1)
    else:
        got = occlusion(model, patch=(1, 2, 2), recompute="receptive_field").attribute(x, 1)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_weights_changed_later_are_seen():
    model, x = ad_like(), torch.rand(1, 1, 24, 30, 24)
    method = occlusion(model, patch=6)
    before = method.attribute(x, 1)
    with torch.no_grad():
        model[0].weight.mul_(-2)
    after = method.attribute(x, 1)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, occlusion(model, patch=6, recompute="all").attribute(x, 1), rtol=0, atol=1e-5)


class Calls(TorchFunctionMode):
    """Sees the arguments of all calls of one function."""

    def __init__(self, name):
        super().__init__()
        self.name, self.seen = name, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == self.name:
            self.seen.append(args)
        return func(*args, **(kwargs or {}))


class Viewed(nn.Module):
    """A hidden linear layer on a large map, reached as networks are often written, and an activation in place."""

    def __init__(self, twice):
        super().__init__()
        self.conv, self.hidden, self.last = nn.Conv3d(1, 2, 3), nn.Linear(2 * 10 * 9 * 8, 5), nn.Linear(5, 2)
        self.drop, self.twice = nn.Dropout(), twice

    def forward(self, x):
        y = F.elu(self.conv(x))
        out = F.relu_(self.hidden(self.drop(y.view(y.size(0), -1))))
        return self.last(out + y.flatten(2).mean((1, 2))[:, None] if self.twice else out)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("patch", [2, (12, 5, 10)])
def test_a_linear_layer_on_a_large_map(twice, patch):
    """Only the columns that a box meets are multiplied, unless others read the whole map, too."""
    torch.manual_seed(0)
    model, x = Viewed(twice).double().eval(), torch.randn(2, 1, 12, 11, 10, dtype=torch.float64)
    calls = Calls("linear")
    with calls:
        got = occlusion(model, patch=patch, recompute="receptive_field").attribute(x, 1)
    wide = [len(v) for v, *_ in calls.seen if v.shape[1] == 1440]
    assert (wide == [1, 1, 1]) == (patch == 2 and not twice)  # recorded, and the unchanged inputs
    torch.testing.assert_close(got, occlusion(model, patch=patch, recompute="all").attribute(x, 1), rtol=0, atol=1e-12)
    model.float()
    single = occlusion(model, patch=patch, recompute="receptive_field").attribute(x.float(), 1)
    torch.testing.assert_close(single.double(), got, rtol=0, atol=1e-5)


@given(st.data())
def test_windows_and_paste_are_slices(data):
    axes = data.draw(st.integers(1, 3))
    grid = [data.draw(st.integers(2, 6)) for _ in range(axes)]
    size = [data.draw(st.integers(1, n)) for n in grid]
    items = data.draw(st.integers(1, 4))
    places = [st.integers(0, n - s) for n, s in zip(grid, size, strict=True)]
    start = torch.tensor([[data.draw(place) for place in places] for _ in range(items)])
    full = torch.randn(2, *grid)
    found = windows(full, start, size)
    assert found.shape == (items, 2, *size)
    low = torch.tensor([[data.draw(st.integers(0, n - 1)) for n in grid] for _ in range(items)])
    boxes = Boxes.within(low, low + 2, grid)
    values = torch.randn(items, 2, *boxes.size)
    wanted = []
    for n in range(items):
        whole = full.clone()
        box = tuple(slice(a, a + s) for a, s in zip(boxes.start[n].tolist(), boxes.size, strict=True))
        whole[(slice(None), *box)] = values[n]
        cut = tuple(slice(a, a + s) for a, s in zip(start[n].tolist(), size, strict=True))
        assert torch.equal(found[n], full[(slice(None), *cut)])
        wanted.append(whole[(slice(None), *cut)])
        assert (boxes.start[n] <= low[n]).all()
        assert (boxes.start[n] + torch.tensor(boxes.size) >= boxes.high[n]).all()
    paste(found, start, values, boxes)
    assert torch.equal(found, torch.stack(wanted))
