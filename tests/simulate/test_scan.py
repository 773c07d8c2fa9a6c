from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from neuroxai.simulate import Acquisition, simulate_scan
from neuroxai.space import mni152


def pair(acquisition, seed):
    return simulate_scan(acquisition, seed, True), simulate_scan(acquisition, seed, False)


@pytest.mark.parametrize("name", ["atrophy_8mm", "lesions_8mm"])
def test_a_control_is_a_patient_of_dose_zero_bit_for_bit(name, request, seed, monkeypatch):
    acquisition = request.getfixturevalue(name)
    control = simulate_scan(acquisition, seed, False)
    plant = type(acquisition.effect).plant

    def with_dose_zero(self, rng, present):
        assert present is True
        return plant(self, rng, 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(type(acquisition.effect), "plant", with_dose_zero)
    patient = simulate_scan(acquisition, seed, True)
    assert np.array_equal(patient.image, control.image)
    assert not control.mask.any()
    assert not control.log_jacobian.any()
    assert patient.columns == control.columns


@pytest.mark.parametrize("name", ["atrophy_8mm", "lesions_8mm"])
def test_twins_share_everything_but_the_effect(name, request, seed):
    patient, control = pair(request.getfixturevalue(name), seed)
    assert np.array_equal(patient.image > 0, control.image > 0)
    assert patient.columns["brain_volume_mm3"] == control.columns["brain_volume_mm3"]
    assert patient.mask.any()
    assert (patient.image[patient.mask] != control.image[patient.mask]).mean() > 0.99
    # a second call gives the same scan
    again = simulate_scan(request.getfixturevalue(name), seed, True)
    assert np.array_equal(again.image, patient.image)


def test_lesion_scans_differ_only_where_there_is_lesion(lesions_8mm, seed):
    patient, control = pair(lesions_8mm, seed)
    assert np.array_equal(patient.image[patient.opacity == 0], control.image[patient.opacity == 0])
    lesion = patient.mask
    assert (patient.image[lesion] > control.image[lesion]).mean() > 0.99


def test_the_mask_holds_the_change_of_the_image(atrophy, seed):
    patient, control = pair(Acquisition(atrophy, mni152(4)), seed)
    energy = (patient.image - control.image).astype(np.float64) ** 2
    near = ndimage.binary_dilation(patient.mask)
    brain = patient.image > 0
    assert energy[near].sum() / energy.sum() > 0.9
    assert (near & brain).sum() / brain.sum() < 0.15
    # fluid is dark: where it grows the scan darkens
    grown = patient.log_jacobian > 0.2
    assert (patient.image - control.image)[grown].mean() < -0.02 * control.image[control.image > 0].mean()


def test_volumes_of_a_scan_show_the_loss(atrophy_8mm, seed):
    patient, control = pair(atrophy_8mm, seed)
    for structure in ("hippocampus", "amygdala"):
        now, before = (s.columns[f"{structure}_volume_mm3"] for s in (patient, control))
        told = patient.columns[f"{structure}_loss_percent"]
        assert 100 * (1 - now / before) == pytest.approx(told, abs=3.0)
        sides = [patient.columns[f"{structure}_{side}_volume_mm3"] for side in ("left", "right")]
        assert sum(sides) == pytest.approx(now)


def test_shape_of_the_truth_follows_the_scan(lesions_8mm, seed):
    """Opacity is warped like the image: its integral is the volume in the table."""
    patient = simulate_scan(lesions_8mm, seed, True)
    volume = patient.opacity.sum(dtype=np.float64) * patient.space.voxel_volume
    assert volume == pytest.approx(patient.columns["lesion_volume_mm3"], rel=0.02)


def test_effect_on_the_left_is_seen_on_the_left(atrophy, seed, monkeypatch):
    whole = type(atrophy).log_jacobian

    def left_only(self, amplitude, ventricle=None, relative=None):
        return whole(self, {"left": amplitude["left"]}, None, relative)

    monkeypatch.setattr(type(atrophy), "log_jacobian", left_only)
    scan = simulate_scan(Acquisition(atrophy, mni152(8)), seed, True)
    x = scan.space.world(np.argwhere(np.abs(scan.log_jacobian) > 0.1))[:, 0]
    assert len(x) > 5
    assert np.median(x) < -15
    assert (x < 2).all()
    control = simulate_scan(Acquisition(atrophy, mni152(8)), seed, False)
    energy = (scan.image - control.image) ** 2
    left = scan.space.world(np.argwhere(energy >= 0))[:, 0].reshape(energy.shape) < 0
    assert energy[left].sum() > 50 * energy[~left].sum()
