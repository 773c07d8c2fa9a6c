from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.components.transforms import NormaliseScand
from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess.intensity import scale
from neuroxai.preprocess.options import PRESETS, SCALINGS, choose

SHAPE = (7, 6, 5)


def head(rng):
    """A bright head around a brain; the brain has no zero."""
    brain = np.zeros(SHAPE, dtype=bool)
    brain[1:6, 1:5, 1:4] = True
    data = np.where(brain, 40 + 20 * rng.random(SHAPE), 500).astype(np.float32)
    return data, brain


@pytest.mark.parametrize("method", ["minmax", "maximum", "zscore"])
def test_equals_the_networks_own_scaling_of_a_brain_extracted_scan(rng, method):
    data, brain = head(rng)
    extracted = np.where(brain, data, 0).astype(np.float32)
    theirs = NormaliseScand("image", method)({"image": torch.from_numpy(extracted[None])})["image"][0].numpy()
    np.testing.assert_allclose(scale(data, brain, method), theirs, rtol=1e-5, atol=1e-6)
    # without a mask, what is not 0 is the brain
    np.testing.assert_array_equal(scale(extracted, None, method), scale(data, brain, method))


@pytest.mark.parametrize("method", SCALINGS)
def test_background_is_zero_and_tissue_around_the_brain_has_no_say(rng, method):
    data, brain = head(rng)
    result = scale(data, brain, method)
    assert result.dtype == np.float32
    assert (result[~brain] == 0).all()
    changed = np.where(brain, data, -99999)
    np.testing.assert_array_equal(scale(changed, brain, method), result)


def test_the_formulas(rng):
    data, brain = head(rng)
    x = data[brain].astype(np.float64)
    expected = {
        "minmax": x / x.max(),  # the background's 0 is the minimum
        "maximum": x / x.max(),
        "zscore": (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).sum() / (x.size - 1)),
        "none": x,
    }
    low, high = np.percentile(x, 5), np.percentile(x, 90)
    for method, values in expected.items():
        np.testing.assert_allclose(scale(data, brain, method)[brain], values, rtol=1e-6)
    robust = scale(data, brain, "robust", (5, 90))[brain]
    np.testing.assert_allclose(robust, np.clip((x - low) / (high - low), 0, 1), atol=1e-6)
    assert (robust == 1).sum() > 1
    full = scale(data, np.ones(SHAPE), "minmax")
    assert full.min() == 0
    assert full.max() == 1


@given(factor=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_robust_and_zscore_do_not_depend_on_the_scanners_scale(factor, shift):
    data, brain = head(np.random.default_rng(1))
    for method in ("robust", "zscore"):
        np.testing.assert_allclose(
            scale(data.astype(float) * factor + shift, brain, method), scale(data, brain, method), atol=1e-4
        )


def test_refusals(rng):
    data, brain = head(rng)
    with pytest.raises(InputError, match="unknown scaling 'max'; choose one of: maximum, minmax"):
        scale(data, brain, "max")
    with pytest.raises(SpaceError, match=r"\(2, 2, 2\), the scan \(7, 6, 5\)"):
        scale(data, np.ones((2, 2, 2)), "minmax")
    with pytest.raises(InputError, match="empty"):
        scale(data, np.zeros(SHAPE), "none")
    for method in ("minmax", "maximum", "zscore", "robust"):
        with pytest.raises(InputError, match="value 3; the scan has no contrast"):
            scale(np.full(SHAPE, 3.0), brain, method)
    with pytest.raises(InputError, match="maximum is -1,"):
        scale(np.where(data == data[1, 1, 1], -2.0, -1.0), brain, "maximum")
    with pytest.raises(InputError, match="no rising pair"):
        scale(data, brain, "robust", (99, 1))
    spike = np.full(SHAPE, 3.0)
    spike[2, 2, 2] = 9
    with pytest.raises(InputError, match="1th and 98th percentile of the brain are both 3"):
        scale(spike, brain, "robust", (1, 98))
    data[2, 2, 2] = np.nan
    with pytest.raises(InputError, match="1 of 60 voxels"):
        scale(data, brain, "minmax")


def test_nan_outside_the_brain_does_not_matter(rng):
    data, brain = head(rng)
    data[0, 0, 0] = np.nan
    assert np.isfinite(scale(data, brain, "zscore")).all()


def test_presets_name_what_exists():
    for name, choice in PRESETS.items():
        assert choose(name) == choice.options
        assert choice.source.split()[0] in ("Boehle", "Eitel", "Klingenberg")
    variants = {p.options.arm for n, p in PRESETS.items() if n.startswith("klingenberg2021")}
    assert variants == {"none", "linear", "nonlinear"}
    assert choose("eitel2021").scaling == "maximum"
    with pytest.raises(InputError, match="'study2'"):
        choose("study2")


# what the studies state: registration, mm, modality, scaling, bias correction, centre
STATED = {
    "boehle2019": ("nonlinear", 1.0, "T1w", "minmax", True, "brain"),
    "eitel2019": ("linear", 2.0, "FLAIR", "minmax", True, "brain"),
    "eitel2019_filled": ("linear", 2.0, "FLAIR", "minmax", True, "brain"),
    "eitel2019_pretraining": ("nonlinear", 2.0, "T1w", "minmax", True, "brain"),
    "klingenberg2021_none": ("none", 1.0, "T1w", "minmax", True, "image"),
    "klingenberg2021_linear": ("linear", 1.0, "T1w", "minmax", True, "brain"),
    "klingenberg2021_nonlinear": ("nonlinear", 1.0, "T1w", "minmax", True, "brain"),
    "eitel2021": ("nonlinear", 2.0, "T1w", "maximum", True, "brain"),
    "eitel2021_ms": ("linear", 2.0, "FLAIR", "maximum", True, "brain"),
    "eitel2021_sex": ("nonlinear", 1.0, "T1w", "maximum", False, "brain"),
}


def test_presets_choose_what_their_studies_state():
    for name, values in STATED.items():
        o = choose(name)
        assert (o.arm, o.spacing, o.modality, o.scaling, o.bias_correction, o.centre) == values
    assert STATED.keys() == PRESETS.keys()
    assert [name for name, choice in PRESETS.items() if choice.fills_lesions] == ["eitel2019_filled"]
