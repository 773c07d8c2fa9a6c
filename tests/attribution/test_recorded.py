"""What a network computes is recorded once for each shape of input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.attribution import base
from neuroxai.errors import InputError, UnsupportedLayerError

METHODS = {
    "guided_backprop": {}, "grad_cam": {}, "guided_grad_cam": {}, "deep_lift": {}, "occlusion": {"patch": 4},
    "region_occlusion": {"labels": torch.arange(512).reshape(8, 8, 8) // 128},
}  # fmt: skip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 216, 2)).eval()


def scans(batch=1, seed=1):
    return torch.rand(batch, 1, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def runs(monkeypatch):
    """Counts the records that are made."""
    made = []
    plain = base.record
    monkeypatch.setattr(base, "record", lambda *args: made.append(1) or plain(*args))
    return made


@pytest.mark.parametrize("name", METHODS)
def test_a_shape_is_recorded_once_and_weights_are_read_anew(name, runs):
    model = network()
    method = attribution.create(name, model, **METHODS[name])
    before = method.attribute(scans(), 1)
    assert len(runs) == 1
    other = method.attribute(scans(seed=2), 0)
    assert torch.equal(other, attribution.create(name, model, **METHODS[name]).attribute(scans(seed=2), 0))
    del runs[1:]
    with torch.no_grad():
        model[0].weight.mul_(-1.5)
    after = method.attribute(scans(), 1)
    assert len(runs) == 1
    assert not torch.allclose(before, after)
    assert torch.equal(after, attribution.create(name, model, **METHODS[name]).attribute(scans(), 1))
    model[3].weight = nn.Parameter(model[3].weight * 2)  # another parameter: another record
    del runs[:]
    method.attribute(scans(), 1)
    assert len(runs) == 1
    with pytest.raises(InputError, match="target 2 does not exist"):
        method.attribute(scans(), 2)


class Branching(nn.Module):
    """A scan decides what is computed."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return self.body(x) * (1 if x.mean() > 0 else -2)


@pytest.mark.parametrize("name", ["guided_backprop", "grad_cam", "deep_lift"])
def test_the_record_of_one_scan_serves_that_call_alone(name, runs):
    model, options = Branching().eval(), {"baselines": 0.1} if name == "deep_lift" else {}
    method = attribution.create(name, model, **options)
    for x in (scans(), scans(seed=2)):
        found = method.attribute(x, 1)
        torch.testing.assert_close(found, attribution.create(name, model.body, **options).attribute(x, 1))
    assert len(runs) == 4  # two of them of the body


@pytest.mark.parametrize("end", [nn.Identity(), nn.Softmax(1)])
def test_a_program_exported_for_a_batch_runs_in_such_batches(end):
    model = nn.Sequential(network(), end).eval()
    program = torch.export.export(model, (scans(3),)).module()
    for score in ("logit", "probability"):
        options = {"patch": 4, "score": score}
        found = attribution.create("occlusion", program, **options).attribute(scans(3, seed=2), 1)
        wanted = attribution.create("occlusion", model, **options).attribute(scans(3, seed=2), 1)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    for name in ("occlusion", "saliency", "grad_cam", "lrp_epsilon"):
        with pytest.raises(InputError, match="give as many scans, or export it with dynamic_shapes"):
            attribution.create(name, program).attribute(scans(2), 1)


def test_a_batch_whose_scans_depend_on_each_other_is_refused():
    class Company(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, x):
            assert len(x) == 2, "two scans"
            return self.body(x - x.mean(0))

    with pytest.raises(UnsupportedLayerError, match="batches such as the 2 scans given alone, and the scores of one"):
        attribution.create("occlusion", Company().eval(), patch=4).attribute(scans(2), 1)
