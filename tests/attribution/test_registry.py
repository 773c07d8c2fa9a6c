"""Methods by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError

METHODS = {
    "saliency", "gradient_x_input", "guided_backprop", "integrated_gradients", "gradient_shap", "deep_lift",
    "smooth_grad", "smooth_grad_squared", "var_grad", "grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam",
    "score_cam", "guided_grad_cam", "occlusion", "region_occlusion", "region_lime", "region_shapley", "region_swap",
    "lrp_zero", "lrp_epsilon", "lrp_gamma", "lrp_alpha_beta", "lrp_z_plus", "deep_taylor", "lrp_boehle2019",
    "lrp_eitel2019", "lrp_epsilon_plus_flat", "lrp_epsilon_gamma_box",
}  # fmt: skip


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)).eval()


def test_names_are_all_there_and_sorted():
    assert set(attribution.names()) == METHODS
    assert list(attribution.names()) == sorted(METHODS)


def test_all_are_on_the_page_that_helps_to_choose():
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "choose-a-method.md").read_text()
    table = page[page.index("## All methods") :].partition("\n\n`--method")[0]
    assert [name for name in attribution.names() if f"`{name}`" not in table] == []


def test_unknown_names_options_and_values():
    with pytest.raises(InputError, match="unknown attribution method 'lrp'; choose one of: deep_lift"):
        attribution.create("lrp", model())
    with pytest.raises(InputError, match="unknown attribution method"):
        attribution.describe("lrp")
    with pytest.raises(InputError, match="'lrp_alpha_beta' has no option 'alpha'; its options are: beta"):
        attribution.create("lrp_alpha_beta", model(), alpha=2)
    with pytest.raises(InputError, match="'lrp_zero' has no option 'epsilon'; it has no options"):
        attribution.create("lrp_zero", model(), epsilon=2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lrp_alpha_beta", {"beta": -1}, "beta is -1"),
        ("lrp_gamma", {"gamma": "much"}, "gamma is 'much'"),
        ("deep_taylor", {"low": 0.0}, "low is 0.0, high is None"),
        ("integrated_gradients", {"n_steps": 0}, "n_steps is 0; a whole number from 1 to 100000 is expected"),
        ("integrated_gradients", {"n_steps": True}, "n_steps is True"),
        ("integrated_gradients", {"baselines": "black"}, "baselines are 'black'; a finite number or one image"),
        ("integrated_gradients", {"baselines": float("nan")}, "baselines are nan"),
        ("deep_lift", {"baselines": torch.tensor([float("inf")])}, r"baselines of shape \(1,\) hold NaN"),
        ("smooth_grad", {"nt_samples": 0}, "nt_samples is 0"),
        ("smooth_grad", {"stdevs": -0.1}, "stdevs is -0.1; a number from 0 up is expected"),
        ("smooth_grad", {"seed": 1.5}, "seed is 1.5; a whole number, 0 or more is expected"),
        ("grad_cam", {"layer": "conv9"}, "unknown layer 'conv9'; choose one of: 0, 1, 2"),
        ("guided_grad_cam", {"layer": ""}, "unknown layer ''"),
    ],
)
def test_values_that_do_not_fit(name, options, message):
    with pytest.raises(InputError, match=message):
        attribution.create(name, model(), **options)


def test_import_is_light():
    code = (
        "import sys, neuroxai.attribution as a; a.describe(a.names()[0]); print({'torch', 'captum'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_defaults_left_out_and_given_are_the_same_choices():
    assert attribution.complete("lrp_alpha_beta", {}) == attribution.complete("lrp_alpha_beta", {"beta": 0})
    assert attribution.complete("lrp_alpha_beta", {"beta": 1}) == {"beta": 1}
    assert attribution.complete("lrp_zero", {}) == {}
    with pytest.raises(InputError, match="unknown attribution method"):
        attribution.complete("lrp", {})
