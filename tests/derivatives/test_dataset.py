"""What beside the results makes a folder a BIDS dataset."""

from neuroxai import io
from neuroxai.derivatives.dataset import IGNORED, complete, describe


def image(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_images_of_a_kind_share_a_sidecar(tmp_path):
    image(tmp_path, "sub-1/anat/sub-1_space-MNI152_res-2_desc-brain_T1w.nii.gz")
    image(tmp_path, "sub-2/ses-a/anat/sub-2_ses-a_run-2_space-MNI152_res-1p5_desc-brain_T1w.nii.gz")
    image(tmp_path, "sub-1/anat/sub-1_space-MNI152_res-2_label-lesion_mask.nii.gz")
    image(tmp_path, "sub-1/anat/sub-1_space-T1w_desc-brain_mask.nii.gz")
    image(tmp_path, "sub-1/anat/sub-1_space-MNI152_res-2_desc-effect_logjacobian.nii.gz")  # BIDS knows no such suffix
    image(tmp_path, "sub-1/anat/.sub-1_space-orig_desc-brain_T1w.nii.gz")  # the rest of a killed run
    image(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    complete(tmp_path, "my template")
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "space-MNI152_desc-brain_T1w.json",
        "space-MNI152_label-lesion_mask.json",
        "space-T1w_desc-brain_mask.json",
    }
    assert io.read_json(tmp_path / "space-MNI152_desc-brain_T1w.json") == {
        "SpatialReference": "my template",
        "Resolution": {"1p5": "1.5 mm, isotropic", "2": "2 mm, isotropic"},
    }
    assert io.read_json(tmp_path / "space-MNI152_label-lesion_mask.json")["Type"] == "Lesion"
    assert io.read_json(tmp_path / "space-T1w_desc-brain_mask.json") == {
        "SpatialReference": "The scan as it was given, on its own grid",
        "Type": "Brain",
    }


def test_lines_that_a_person_ignores_stay(tmp_path):
    (tmp_path / ".bidsignore").write_text("mine\nfigures\n")
    complete(tmp_path)
    complete(tmp_path)
    lines = (tmp_path / ".bidsignore").read_text().splitlines()
    assert lines[:2] == ["mine", "figures"]
    assert sorted(lines) == sorted(["mine", *IGNORED])


def test_the_description_of_another_dataset_stays(tmp_path):
    describe(tmp_path / "new", tmp_path)
    found = io.read_json(tmp_path / "new" / "dataset_description.json")
    assert found["DatasetType"] == "derivative"
    assert found["SourceDatasets"] == [{"URL": tmp_path.as_uri()}]
    describe(tmp_path / "new", None)  # of scans of no folder
    assert "SourceDatasets" not in io.read_json(tmp_path / "new" / "dataset_description.json")
    other = {"Name": "mine", "BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "other"}]}
    io.write_json(tmp_path / "dataset_description.json", other)
    describe(tmp_path, None)
    assert io.read_json(tmp_path / "dataset_description.json") == other
