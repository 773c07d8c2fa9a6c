"""What heatmaps are called, by method and by where relevance starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroxai.derivatives.heatmap_names import group_name, method_label, start_label
from neuroxai.derivatives.heatmaps import ScanFiles
from neuroxai.errors import InputError


def heatmap_name(participant: str, session: str, space: str, method: str, start: str = "") -> str:
    return ScanFiles(Path(), participant, session, method_label(method) + start).name(space).place


def test_labels_hold_letters_and_digits_alone():
    assert method_label("saliency") == "saliency"
    assert method_label("lrp_alpha_beta") == "lrpAlphaBeta"
    assert method_label("lrp_boehle2019") == "lrpBoehle2019"


def test_sessions_stand_in_folder_and_file():
    assert (
        heatmap_name("sub-01", "", "orig", "saliency") == "sub-01/anat/sub-01_space-orig_desc-saliency_heatmap.nii.gz"
    )
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


def test_files_of_a_scan_lie_beside_each_other_and_nowhere_else(tmp_path):
    files = ScanFiles(tmp_path, "sub-01", "ses-1_run-2", "lrpZero")
    assert files.regions == files.heatmap().with_name("sub-01_ses-1_run-2_space-network_desc-lrpZero_regions.tsv")
    assert files.sidecar("orig") == tmp_path / (
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_space-orig_desc-lrpZero_heatmap.json"
    )
    with pytest.raises(InputError):
        ScanFiles(tmp_path, "../../x", "", "lrpZero").heatmap()
    assert group_name("lrp_zero", "PifP03F1", "heatmaps.tsv") == (
        "group/group_space-network_desc-lrpZeroPifP03F1_heatmaps.tsv"
    )
