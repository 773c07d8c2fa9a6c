from __future__ import annotations

import pytest

from neuroxai.io import heatmap_name, method_label, start_label


def test_labels_hold_letters_and_digits_alone():
    assert method_label("saliency") == "saliency"
    assert method_label("lrp_alpha_beta") == "lrpAlphaBeta"
    assert method_label("lrp_boehle2019") == "lrpBoehle2019"


def test_sessions_stand_in_folder_and_file():
    assert (
        heatmap_name("sub-01", None, "orig", "saliency") == "sub-01/anat/sub-01_space-orig_desc-saliency_heatmap.nii.gz"
    )
    assert heatmap_name("sub-01", "", "orig", "saliency") == heatmap_name("sub-01", None, "orig", "saliency")
    assert heatmap_name("sub-01", "ses-2", "network", "lrp_zero") == (
        "sub-01/ses-2/anat/sub-01_ses-2_space-network_desc-lrpZero_heatmap.nii.gz"
    )


@pytest.mark.parametrize(
    ("start", "label"),
    [
        ((None,), ""),
        (("features.pif",), "Pif"),
        (("features.pif", {"patch": 12, "filter": 0}), "PifP12F0"),
        (("shared.features.conv2", [7, 1, 0, 3]), "SharedFeaturesConv2F7At1x0x3"),
        (("conv4:2", [7]), "Conv42F7"),
        ((None, None, {"features.conv4": [3, 5], "head.linear1": [0]}), "ViaConv4F3F5ViaHeadLinear1F0"),
    ],
)
def test_starts_have_labels_of_their_own(start, label):
    assert start_label(*start) == label
    assert heatmap_name("sub-01", "", "network", "lrp_zero", label).endswith(f"_desc-lrpZero{label}_heatmap.nii.gz")


def test_long_starts_stay_short_and_apart():
    labels = {start_label("features.conv4", None, {"features.conv3": range(n)}) for n in (60, 61, 62)}
    assert len(labels) == 3
    assert all(len(label) == 60 and label.isalnum() for label in labels)
