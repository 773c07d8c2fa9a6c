from __future__ import annotations

from neuroxai.io import heatmap_name, method_label


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
