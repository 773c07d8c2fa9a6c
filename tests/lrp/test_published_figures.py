"""Figures of third-party implementations on small networks (fixtures/; see docs of the repository)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from neuroxai.lrp import LRP, composites

FIXTURES = Path(__file__).parent / "fixtures"


def network():
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(4, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(3),
        nn.Flatten(), nn.Dropout(), nn.Linear(162, 16), nn.ReLU(), nn.Linear(16, 2),
    )  # fmt: skip


def loaded(name):
    figures = np.load(FIXTURES / f"{name}.npz")
    model = network().to(torch.tensor(figures["x"]).dtype)
    model.load_state_dict({key: torch.tensor(figures[key]) for key in model.state_dict()})
    return model.eval(), torch.tensor(figures["x"]), figures


@pytest.mark.parametrize("sign", ["nonnegative", "signed"])
@pytest.mark.parametrize(
    ("key", "composite"),
    [
        ("R_epsilon_1e-6", composites.epsilon(1e-6)),
        ("R_z_plus", composites.z_plus()),
        ("R_z_plus", composites.alpha_beta(0.0)),
        ("R_alpha2_beta1", composites.alpha_beta(1.0)),
    ],
)
def test_zennit(sign, key, composite):
    model, x, figures = loaded(f"lrp_zennit_small_{sign}_input")
    np.testing.assert_allclose(model(x).detach().numpy(), figures["logits"], rtol=1e-10)
    wanted = figures[key]
    got = LRP(model, composite).attribute(x, target=1, start="logit").numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12 * np.abs(wanted).max())
    stepwise = LRP(model, composite).attribute(x, target=1, return_layers=True, start="logit")[0].numpy()
    np.testing.assert_allclose(stepwise, wanted, rtol=1e-9, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_rule_of_boehle_2019(beta):
    model, x, figures = loaded("lrp_boehle2019_small")
    wanted = figures[f"R_beta{beta}"]
    got = LRP(model, composites.boehle2019(beta)).attribute(x, target=1, start="logit").numpy()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    plain = LRP(model, composites.alpha_beta(beta)).attribute(x, target=1, start="logit").numpy()
    assert np.abs(plain - wanted).max() > 1e-2 * np.abs(wanted).max()  # the variant is another rule
