"""Training scans are looked at before anything is learnt from them: heads with their skull, odd ones among brains."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from scipy import ndimage

from neuroxai import io
from neuroxai.components.data import ScanDataset
from neuroxai.components.training_scans import OUTSIDE, look_at
from neuroxai.errors import UnfitError
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, mni152

SPACE = mni152(8)  # blocks of one voxel, so that shares can be counted by hand


@pytest.fixture(scope="module")
def brain():
    return load_template(spacing=8).brain.data


def brains(brain, count, head=()):
    """Scans of one brightness, with a little noise; those of `head` with a shell of the same brightness around."""
    shell = ndimage.binary_dilation(brain, iterations=3)
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        inside = shell if number in head else brain
        images.append(torch.tensor(np.where(inside, rng.uniform(0.9, 1, brain.shape), 0), dtype=torch.float32)[None])
    items = [{"image": f"/cohort/sub-{n}_T1w.nii.gz", "participant_id": f"sub-{n}"} for n in range(count)]
    kept = {item["image"]: image for item, image in zip(items, images, strict=True)}
    return ScanDataset(items, lambda item: {**item, "image": kept[item["image"]]})


def test_heads_are_refused_and_the_share_is_that_of_their_voxels(brain):
    heads = brains(brain, 6, head=range(1, 6))
    shell = ndimage.binary_dilation(brain, iterations=3)
    share = (shell & ~brain).sum() / shell.sum()  # every voxel is as bright as the others
    assert share > 2 * OUTSIDE
    with pytest.raises(UnfitError, match=rf"5 of 6 .* such as /cohort/sub-[1-5]_T1w.*: {share:.0%} of their signal"):
        look_at(heads, None, SPACE, accept=False)


def test_who_insists_trains_on_heads(brain, caplog):
    heads = brains(brain, 6, head=range(6))
    with caplog.at_level(logging.WARNING, logger="neuroxai"):
        looks = look_at(heads, None, SPACE, accept=True)
    assert looks["fit"]["scans"] == 6
    assert looks["simulated"] is False
    assert "6 of 6 training scans are unlike the training scans" in caplog.text
    assert "(and 3 more)" in caplog.text


def test_a_grid_that_is_not_the_package_s_is_not_compared_with_the_template(brain):
    elsewhere = Space(SPACE.shape, SPACE.affine + np.eye(4, k=3) * 3)
    assert look_at(brains(brain, 4, head=range(4)), None, elsewhere, accept=False)["fit"]["scans"] == 4


def test_one_head_among_brains_is_named(brain, caplog):
    with caplog.at_level(logging.WARNING, logger="neuroxai"):
        look_at(brains(brain, 12, head=[4]), brains(brain, 3, head=[1]), SPACE, accept=False)
    first, second = caplog.messages
    assert first.startswith("1 of 12 training scans are unlike the training scans: sub-4: ")
    assert second.startswith("1 of 3 validation scans are unlike the training scans: sub-1: ")


def test_brains_give_no_word(brain, caplog):
    with caplog.at_level(logging.WARNING, logger="neuroxai"):
        looks = look_at(brains(brain, 12), brains(brain, 3), SPACE, accept=False)
    assert caplog.messages == []
    assert looks["fit"]["shape"] == list(SPACE.shape)
    assert look_at(brains(brain, 1), None, SPACE, accept=False) == {"fit": None, "simulated": False}


def test_scans_of_the_template_s_anatomy_are_known_by_their_sidecars(tmp_path, brain):
    scans = brains(brain, 3)
    keep = {item["image"]: scans.prepared(n)["image"] for n, item in enumerate(scans.data)}
    for item in scans.data:
        item["old"] = item["image"]
        item["image"] = str(tmp_path / f"{item['participant_id']}_T1w.nii.gz")
        io.write_json(tmp_path / f"{item['participant_id']}_T1w.json", {"Simulated": True})
    scans.transform = lambda item: {**item, "image": keep[item["old"]]}
    assert look_at(scans, None, SPACE, accept=False)["simulated"] is True
    # brains that their sidecars call so may lie elsewhere by intent, as without registration
    heads = brains(brain, 3, head=range(3))
    for item, known in zip(heads.data, scans.data, strict=True):
        item["image"] = known["image"]
    keep.update({item["old"]: heads.transform({**item, "image": item["old"]})["image"] for item in scans.data})
    with pytest.raises(UnfitError):
        look_at(scans, None, SPACE, accept=False)
    for name in ("sub-0", "sub-1", "sub-2"):
        io.write_json(tmp_path / f"{name}_T1w.json", {"Simulated": True, "SkullStripped": True})
    assert look_at(scans, None, SPACE, accept=False)["simulated"] is True
    # an effect planted in a real scan leaves a real scan
    io.write_json(tmp_path / "sub-1_T1w.json", {"Simulated": True, "Source": {"scan": "0"}})
    assert look_at(scans, None, SPACE, accept=False)["simulated"] is False
