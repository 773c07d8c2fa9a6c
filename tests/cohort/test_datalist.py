from __future__ import annotations

import copy
import json
import math

import pytest

from neuroxai.cohort import check_datalist, load_datalist, summary, write_datalist
from neuroxai.errors import InputError, LeakageError


def item(number, label, **more):
    name = f"sub-{number:02d}"
    return {"image": f"{name}/anat/{name}_T1w.nii.gz", "label": label, "participant_id": name, **more}


@pytest.fixture
def datalist():
    return {
        "description": "d",
        "classes": ["CN", "AD"],
        "target": "diagnosis",
        "left_out": [{"participant_id": "sub-99", "reason": "no scan"}],
        "training": [item(1, 0, age=70.5, sex="F"), item(2, 1, sex="M"), item(3, 1, age=71, session_id="ses-1")],
        "validation": [item(4, 0), item(5, 1)],
        "test": [item(6, 0), item(7, 1)],
    }


@pytest.fixture
def saved(tmp_path, datalist):
    for part in ("training", "validation", "test"):
        for entry in datalist[part]:
            (tmp_path / entry["image"]).parent.mkdir(parents=True)
            (tmp_path / entry["image"]).touch()
    return write_datalist(tmp_path / "lists/datalist.json", datalist)


def test_load_gives_absolute_paths_and_equal_keys(tmp_path, saved):
    items = load_datalist(saved, "training", tmp_path)
    assert items[0]["image"] == str(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    assert [i["label"] for i in items] == [0, 1, 1]
    assert {frozenset(i) for i in items} == {
        frozenset({"image", "label", "participant_id", "age", "sex", "session_id"})
    }
    assert math.isnan(items[1]["age"])
    assert [i["session_id"] for i in items] == ["", "", "ses-1"]
    assert items[2]["sex"] == "n/a"
    assert "session_id" not in load_datalist(saved, "test", tmp_path)[0]


def test_base_is_the_files_own_folder_unless_given(tmp_path, saved, datalist):
    own = write_datalist(tmp_path / "own.json", datalist)
    assert load_datalist(own, "test") == load_datalist(own, "test", tmp_path)
    with pytest.raises(InputError, match=r"2 of 2 images are not below .*lists"):
        load_datalist(saved, "test")
    with pytest.raises(InputError, match=r"base folder .* does not exist"):
        load_datalist(saved, "test", tmp_path / "absent")


def test_monai_reads_the_same(tmp_path, saved):
    monai = pytest.importorskip("monai.data.decathlon_datalist")
    for part in ("training", "validation", "test"):
        theirs = monai.load_decathlon_datalist(str(saved), False, part, str(tmp_path))
        ours = load_datalist(saved, part, tmp_path)
        assert [(i["image"], i["label"]) for i in theirs] == [(i["image"], i["label"]) for i in ours]


def test_batches_collate(tmp_path, saved):
    data = pytest.importorskip("monai.data")
    batch = next(iter(data.DataLoader(data.Dataset(load_datalist(saved, "training", tmp_path)), batch_size=3)))
    assert batch["label"].tolist() == [0, 1, 1]


def change(datalist, path, value):
    """Set (or with `...` delete) the field at a path."""
    changed = copy.deepcopy(datalist)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@pytest.mark.parametrize("part", ["validation", "test"])
def test_one_subject_in_two_parts_is_refused_when_written_and_when_loaded(tmp_path, saved, datalist, part):
    for leak in (
        {**item(1, 0), "image": "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"},
        {"image": "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "label": 0},  # known by its file name
        {"image": "copies/scan.nii.gz", "label": 0, "participant_id": "01"},  # without prefix
    ):
        bad = change(datalist, [part, 0], leak)
        with pytest.raises(LeakageError, match=f"sub-01 stands in training and in {part}"):
            write_datalist(tmp_path / "lists/datalist.json", bad)
        (tmp_path / "bad.json").write_text(json.dumps(bad))
        for wanted in ("training", "validation", "test"):  # whichever part is asked for
            with pytest.raises(LeakageError, match=rf"bad.json: sub-01 stands in training and in {part}"):
                load_datalist(tmp_path / "bad.json", wanted, tmp_path)
    assert json.loads(saved.read_text()) == datalist  # refused, the old file stays


def test_leak_into_a_further_part_is_seen(datalist):
    with pytest.raises(LeakageError, match="sub-01 stands in training and in external"):
        check_datalist({**datalist, "external": [item(1, 0)]})


def test_one_image_under_two_names_is_refused(datalist):
    bad = change(datalist, ["training", 0], {"image": "x/scan.nii", "label": 0, "participant_id": "sub-50"})
    bad = change(bad, ["test", 0], {"image": "x/./y/../scan.nii", "label": 0, "participant_id": "sub-51"})
    with pytest.raises(LeakageError, match=r"image x/scan\.nii stands in training and in test"):
        check_datalist(bad)


def test_a_name_that_contradicts_its_image_is_refused(datalist):
    with pytest.raises(InputError, match="participant_id is 'sub-77'"):
        check_datalist(change(datalist, ["test", 0, "participant_id"], "sub-77"))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["training", 1, "label"], 2, r"sub-02\): label 2 is no class, expected one of 0 \(CN\), 1 \(AD\)"),
        (["training", 1, "label"], -1, "label -1 is no class"),
        (["training", 1, "label"], True, "label True is no class"),
        (["training", 1, "label"], "AD", "label 'AD' is no class"),
        (["training", 1, "label"], ..., "label None is no class"),
        (["training", 0, "label"], 1, r"one class only \(AD\), expected CN and AD"),
        (["test", 0], "sub-06.nii", 'expected an object with "image"'),
        (["test", 0, "image"], ..., 'expected an object with "image"'),
        (["test", 0], {"image": "a.nii", "label": 0}, 'has no "participant_id"'),
        (["test"], [], "part 'test' is empty"),
        (["test"], {}, "part 'test' is not a list"),
        (["test"], ..., "unknown part of the datalist 'test'; choose one of: training, validation"),
        (["classes"], ..., '"classes" is None'),
        (["classes"], ["CN"], "two or more names"),
        (["test", 0], item(7, 1), "stands twice in test"),
        (["test", 0, "image"], "../sub-06.nii", "leaves the folder"),
        (["test", 0, "image"], "/etc/sub-06.nii", "leaves the folder"),
        (["test", 0, "image"], "sub-06/absent.nii", "1 of 2 images .* the first is sub-06/absent.nii"),
    ],
)
def test_what_cannot_be_used(tmp_path, saved, datalist, path, value, words):
    (tmp_path / "bad.json").write_text(json.dumps(change(datalist, path, value)))
    with pytest.raises(InputError, match=words) as caught:
        load_datalist(tmp_path / "bad.json", "test", tmp_path)
    assert not isinstance(caught.value, LeakageError)


def test_files_that_are_no_datalist(tmp_path):
    for text, words in (("[]", "JSON object"), ("{}", "unknown part"), ("{", "not valid JSON")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match=words):
            load_datalist(tmp_path / "x.json", "test")
    with pytest.raises(InputError, match="no such file"):
        load_datalist(tmp_path / "absent.json", "test")
    with pytest.raises(InputError, match="has no part"):
        check_datalist({"classes": ["a", "b"]})


def test_links_into_a_store_are_followed(tmp_path, saved, datalist):
    """git-annex keeps scans as links that may leave the folder; their names do not."""
    store = tmp_path.parent / f"{tmp_path.name}-store"
    store.mkdir()
    (store / "x").touch()
    scan = tmp_path / datalist["test"][0]["image"]
    scan.unlink()
    scan.symlink_to(store / "x")
    assert load_datalist(saved, "test", tmp_path)[0]["image"] == str(scan)


def test_over_sampling_in_training_is_allowed(datalist):
    check_datalist(change(datalist, ["training"], [*datalist["training"], datalist["training"][0]]))


def test_summary_counts_subjects_and_scans(datalist):
    datalist["training"].append({**item(1, 0, age=72.5, sex="F"), "image": "sub-01/anat/sub-01_ses-2_T1w.nii.gz"})
    table = summary(datalist).set_index(["part", "class"])
    row = table.loc["training", "CN"]
    assert (row["subjects"], row["scans"], row["F"], row["M"], row["age_mean"]) == (1, 2, 1, 0, 70.5)
    row = table.loc["training", "AD"]
    assert (row["subjects"], row["M"], row["other"], row["age_min"], row["age_max"]) == (2, 1, 1, 71, 71)
    assert table["subjects"].sum() == 7
