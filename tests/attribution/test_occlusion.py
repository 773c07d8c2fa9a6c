"""Patch occlusion: what it computes, its options, and what it refuses."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from torch import nn

from neuroxai import io
from neuroxai.attribution import perturbed
from neuroxai.attribution.occlusion.occlusion import Occlusion as occlusion
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.space import Volume, mni152
from oracles.occlusion import one_by_one

GRID = (11, 8, 9)


def network(end=None, classes=2, channels=1):
    torch.manual_seed(4)
    body = [nn.Conv3d(channels, 3, 3), nn.BatchNorm3d(3), nn.ReLU(inplace=True), nn.MaxPool3d(2), nn.Flatten()]
    body[1].running_mean.normal_()
    body[1].running_var.uniform_(0.5, 2)
    model = nn.Sequential(*body, nn.Dropout(0.5), nn.Linear(3 * 4 * 3 * 3, classes), *(() if end is None else (end,)))
    return model.eval().double()


def scans(batch=1, channels=1):
    return torch.randn(batch, channels, *GRID, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("patch", "stride"), [((4, 3, 5), (3, 3, 2)), ((4, 4, 4), (4, 4, 4)), ((11, 2, 9), (11, 1, 4))]
)
def test_equals_captum(patch, stride):
    model, x = network(channels=2), scans(2, channels=2)
    got = occlusion(model, patch=patch, stride=stride, value=0.3).attribute(x, [0, 1])
    theirs = captum.attr.Occlusion(model).attribute(
        x, (2, *patch), (2, *stride), baselines=0.3, target=torch.tensor([0, 1])
    )
    # captum works in single precision whatever the inputs
    torch.testing.assert_close(got, theirs.double(), rtol=0, atol=1e-6)


def test_equals_the_loop_for_a_probability():
    model, x = network(), scans()
    with torch.no_grad():
        wanted = one_by_one(lambda v: model(v).softmax(1)[:, 1], x, (4, 4, 4), (2, 2, 2))
    got = occlusion(model, patch=4, stride=2, score="probability").attribute(x, 1)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    assert not torch.allclose(got, occlusion(model, patch=4, stride=2).attribute(x, 1))


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1)])
@pytest.mark.parametrize("recompute", ["receptive_field", "all"])
def test_a_softmax_at_the_end_is_seen_through(end, recompute):
    x, options = scans(), {"patch": 5, "recompute": recompute}
    for score in ("logit", "probability"):
        bare = occlusion(network(), score=score, **options).attribute(x, 1)
        ended = occlusion(network(end), score=score, **options).attribute(x, 1)
        torch.testing.assert_close(bare, ended, rtol=0, atol=1e-12)


def test_one_output_and_its_probability():
    model, x = network(classes=1), scans()
    with torch.no_grad():
        wanted = one_by_one(lambda v: model(v).sigmoid(), x, (5, 5, 5), (5, 5, 5))
    for one in (model, nn.Sequential(model, nn.Sigmoid()).eval()):
        got = occlusion(one, patch=5, score="probability").attribute(x)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_mean_and_clipping():
    model, x = network(channels=2), scans(channels=2)
    mean = x.mean((2, 3, 4)).view(2, 1, 1, 1)
    with torch.no_grad():
        wanted = one_by_one(lambda v: model(v)[:, 0], x, (4, 4, 4), (4, 4, 4), mean)
    got = occlusion(model, patch=4, value="mean").attribute(x, 0)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    assert bool((got < 0).any())
    clipped = occlusion(model, patch=4, value="mean", positive=True).attribute(x, 0)
    torch.testing.assert_close(clipped, wanted.clamp(min=0), rtol=0, atol=1e-12)


def test_negative_drops_are_clipped_before_patches_are_averaged():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False)).eval()
    model[1].weight.data = torch.tensor([[1.0, 1.0, -3.0]])
    x = torch.ones(1, 1, 3)
    assert occlusion(model, patch=2, stride=1).attribute(x).tolist() == [[[2.0, 0.0, -2.0]]]
    assert occlusion(model, patch=2, stride=1, positive=True).attribute(x).tolist() == [[[2.0, 1.0, 0.0]]]


def test_finds_the_patch_that_decides_on_an_asymmetric_grid():
    """Only voxels at one place of the first axis's low end count; a flip or a swap of axes would miss it."""
    weight = torch.zeros(1, 1, 7, 5, 3)
    weight[0, 0, 1, 4, 0] = 2
    model = nn.Sequential(nn.Conv3d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(105, 1, bias=False)).eval()
    model[0].weight.data.fill_(1)
    model[2].weight.data = weight.reshape(1, -1)
    found = occlusion(model, patch=(2, 2, 2)).attribute(torch.ones(1, 1, 7, 5, 3))
    wanted = torch.zeros(1, 1, 7, 5, 3)
    wanted[0, 0, 0:2, 4:5, 0:2] = 2
    assert torch.equal(found, wanted)


def test_a_patch_that_holds_the_value_already_is_exactly_zero_and_not_run(monkeypatch):
    model, x = network(), scans()
    x[..., :5] = 0
    runs = []
    method = occlusion(model, patch=(11, 8, 5), recompute="all", perturbations_per_eval=1)
    method.attribute(x, 1)
    plain = perturbed.PerturbedModel.run
    monkeypatch.setattr(perturbed.PerturbedModel, "run", lambda *a: runs.append(1) or plain(*a))
    got = method.attribute(x, 1)
    assert len(runs) == 2  # the whole input, and the one patch that is not empty
    assert not got[..., :5].any()
    assert bool(got[..., 5:].all())


def test_passes_do_not_change_the_result():
    model, x = network(), scans(2)
    whole = occlusion(model, patch=3, stride=2).attribute(x, 1)
    for perturbations_per_eval in (1, 7):
        for recompute in ("receptive_field", "all"):
            few = occlusion(
                model, patch=3, stride=2, perturbations_per_eval=perturbations_per_eval, recompute=recompute
            ).attribute(x, 1)
            torch.testing.assert_close(whole, few, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2])
def test_fewer_axes(axes):
    torch.manual_seed(0)
    conv, pool = (getattr(nn, f"{kind}{axes}d") for kind in ("Conv", "AvgPool"))
    model = nn.Sequential(conv(1, 2, 3, padding=1), nn.ELU(), pool(2), nn.Flatten(), nn.LazyLinear(2)).eval().double()
    x = torch.randn(1, 1, *(9, 10)[:axes], dtype=torch.float64)
    model(x)
    with torch.no_grad():
        wanted = one_by_one(lambda v: model(v)[:, 1], x, (3, 4)[:axes], (2, 2)[:axes])
    got = occlusion(model, patch=(3, 4)[:axes], stride=2, recompute="receptive_field").attribute(x, 1)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0}, "patch is 0; a whole number, 1 or more is expected"),
        ({"patch": 2.5}, "patch is 2.5"),
        ({"patch": (2, 0, 2)}, "each number of patch is 0"),
        ({"stride": True}, "stride is True"),
        ({"value": "median"}, "value is 'median'; a finite number or 'mean'"),
        ({"value": float("nan")}, "value is nan"),
        ({"score": "loss"}, "unknown score 'loss'; choose one of: logit, probability"),
        ({"positive": 1}, "positive is 1; true or false"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval is 0"),
        ({"recompute": "some"}, "unknown recompute 'some'; choose one of: all, auto, receptive_field"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        occlusion(network(), **options)


def test_bad_sizes_and_inputs():
    with pytest.raises(InputError, match=r"patch is \(2, 2\); .* 3 axes of the grid \(11, 8, 9\)"):
        occlusion(network(), patch=(2, 2)).attribute(scans(), 1)
    with pytest.raises(InputError, match=r"stride \(3, 3, 3\) is larger than patch \(2, 2, 2\) along axis 0"):
        occlusion(network(), patch=2, stride=3).attribute(scans(), 1)
    occlusion(network(), patch=(11, 2, 9), stride=(20, 2, 10)).attribute(scans(), 1)  # one patch along an axis: no gap
    with pytest.raises(InputError, match=r"inputs have shape \(4, 3\); occlusion expects"):
        occlusion(nn.Linear(3, 2).eval()).attribute(torch.ones(4, 3), 1)
    with pytest.raises(InputError, match="36 features arrive, expected 108"):
        occlusion(network()).attribute(scans()[..., :4], 1)


class Iterating(nn.Module):
    """Python that runs over the batch."""

    def forward(self, x):
        return torch.stack([v.flatten()[:2] for v in x])


class Company(nn.Module):
    """A scan's scores depend on the others of its batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.fc = nn.BatchNorm3d(1, track_running_stats=False), nn.Linear(792, 2)

    def forward(self, x):
        return self.fc((self.norm(x) * (x - x.mean(0))).flatten(1) + self.norm(x).flatten(1))


class Squeezed(nn.Module):
    """Takes one scan as no batch at all."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv3d(1, 2, 3), nn.Linear(2 * 9 * 6 * 7, 2)

    def forward(self, x):
        return self.fc(self.conv(x).squeeze().reshape(1, -1))


class Reached(nn.Module):
    """A map with constants of its own on the grid."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv3d(2, 2, 3), nn.Linear(2, 2)
        self.place = nn.Parameter(torch.randn(1, 1, *GRID))

    def forward(self, x):
        return self.fc(self.conv(torch.cat([x * self.place, self.place.expand(len(x), *self.place.shape[1:])], 1))
                       .relu().amax((2, 3, 4)))  # fmt: skip


@pytest.mark.parametrize("recompute", ["auto", "receptive_field", "all"])
@pytest.mark.parametrize("kind", [Iterating, Company, Squeezed, Reached])
def test_a_scan_does_not_depend_on_what_shares_its_pass(kind, recompute):
    model, x = kind().double().eval(), scans(2)
    with torch.no_grad():
        wanted = torch.cat([one_by_one(lambda v: model(v)[:, 1], one[None], (5, 4, 4), (5, 4, 4)) for one in x])
    for many in (None, 1, 5):
        got = occlusion(model, patch=(5, 4, 4), recompute=recompute, perturbations_per_eval=many).attribute(x, 1)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


class Ended(nn.Module):
    """A branch that the scan decides, and a softmax."""

    def __init__(self, end):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.end = nn.Linear(792, 2), end

    def forward(self, x):
        return self.end(self.fc(x.flatten(1)) * (1 if x.sum() > 0 else -2))


def test_the_branch_that_an_occluded_scan_takes():
    x = scans()
    x = x - x.mean() + 0.01
    bare, ended = (Ended(end).double().eval() for end in (nn.Identity(), nn.Softmax(1)))
    with torch.no_grad():
        wanted = one_by_one(lambda v: bare(v)[:, 1], x, (5, 4, 4), (5, 4, 4))
    for model in (bare, ended):
        torch.testing.assert_close(occlusion(model, patch=(5, 4, 4)).attribute(x, 1), wanted, rtol=0, atol=1e-12)


def test_networks_that_draw_random_numbers_are_refused():
    class Always(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(792, 2)

        def forward(self, x):
            return self.fc(nn.functional.dropout(x.flatten(1)))  # on by default

    with pytest.raises(UnsupportedLayerError, match="draws random numbers"):
        occlusion(Always().double().eval(), patch=4).attribute(scans(), 1)


def test_a_part_that_no_record_sees_runs_whole():
    model, x = network(), scans()
    wanted = occlusion(model, patch=4).attribute(x, 1)
    model[2] = torch.jit.script(nn.ReLU().eval())
    torch.testing.assert_close(occlusion(model, patch=4).attribute(x, 1), wanted, rtol=0, atol=1e-12)
    with pytest.raises(UnsupportedLayerError, match="cannot be followed back"):
        occlusion(model, patch=4, recompute="receptive_field").attribute(x, 1)


class Two(nn.Module):
    """Two scans on grids of their own, and an age."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.fc = nn.Conv3d(1, 2, 3), nn.Conv3d(1, 2, 2), nn.Linear(5, 2)

    def forward(self, x, y, age):
        maps = [self.a(x).relu().mean((2, 3, 4)), self.b(y).relu().mean((2, 3, 4)), age]
        return self.fc(torch.cat(maps, 1)).tanh()


def test_several_inputs():
    model, x, y = Two().double().eval(), scans(2), scans(2)[..., :6]
    age = torch.tensor([[0.3], [1.2]], dtype=torch.float64)
    for recompute in ("receptive_field", "all"):
        got = occlusion(model, patch=3, recompute=recompute).attribute((x, y), 1, (age,))
        for n in range(2):
            with torch.no_grad():
                first = one_by_one(
                    lambda v, n=n: model(v, y[n : n + 1], age[n : n + 1])[:, 1], x[n : n + 1], *2 * [(3, 3, 3)]
                )
                second = one_by_one(
                    lambda v, n=n: model(x[n : n + 1], v, age[n : n + 1])[:, 1], y[n : n + 1], *2 * [(3, 3, 3)]
                )
            torch.testing.assert_close(got[0][n : n + 1], first, rtol=0, atol=1e-12)
            torch.testing.assert_close(got[1][n : n + 1], second, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="Give values without a grid as additional_forward_args"):
        occlusion(model).attribute((x, y, age), 1)


@pytest.mark.real
def test_a_real_scan(real_data):
    """Cone and whole network agree on a real brain, and background has no importance."""
    paths = sorted(real_data.rglob("*T1w.nii.gz"))
    if not paths:
        pytest.skip(f"no T1w scan in {real_data}")
    volume = io.read_volume(paths[0]).resampled_to(mni152(6))
    assert isinstance(volume, Volume)
    x = torch.from_numpy(volume.data).float()[None, None]
    x = (x - x.min()) / (x.max() - x.min())
    x = torch.where(x > 0.1, x, 0)
    torch.manual_seed(2)
    layers = [nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 8, 3), nn.ReLU(), nn.MaxPool3d(3)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2)).eval()
    model(x)
    cone = occlusion(model, patch=5, recompute="receptive_field").attribute(x, 1)
    whole = occlusion(model, patch=5, recompute="all").attribute(x, 1)
    torch.testing.assert_close(cone, whole, rtol=0, atol=1e-5)
    empty = torch.nn.functional.max_pool3d(x, 5, ceil_mode=True).repeat_interleave(5, 2).repeat_interleave(5, 3)
    empty = empty.repeat_interleave(5, 4)[..., : x.shape[2], : x.shape[3], : x.shape[4]] == 0
    assert bool(empty.any())
    assert not cone[empty].any()
    assert bool(cone.any())


def test_a_network_that_asserts_how_many_scans_it_takes_runs_them_one_by_one():
    class OneScan(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, x):
            assert len(x) == 1, "one scan at a time"
            return self.body(x)

    x = scans()
    found = occlusion(OneScan().eval(), patch=5, recompute="all").attribute(x, 1)
    torch.testing.assert_close(found, occlusion(network(), patch=5, recompute="all").attribute(x, 1))


def test_a_network_that_treats_the_first_of_a_batch_alone_runs_one_by_one():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            scores = self.net(x)
            return scores.index_put((torch.tensor([0]), torch.tensor([1])), scores[0, 1] * 2)

    x = scans()
    got = occlusion(First().eval(), patch=(6, 8, 9), recompute="all").attribute(x, 1)
    wanted = occlusion(network(), patch=(6, 8, 9), recompute="all").attribute(x, 1) * 2
    torch.testing.assert_close(got, wanted)
