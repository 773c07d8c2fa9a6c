from __future__ import annotations

import logging
import time

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose

from neuroxai.components import LoadScand, ScanDataset, ScanLoader, WholeLoader, collate_whole, open_part
from neuroxai.components.data import read_ahead
from neuroxai.errors import InputError, LeakageError
from neuroxai.io import read_json, write_json, write_volume
from neuroxai.space import Space, Volume


def read(item):
    if item["image"] == "broken":
        try:
            raise InputError("broken: is truncated; copy it again")
        except InputError as error:
            raise RuntimeError("applying transform") from error
    if item["image"] == "odd":
        raise ZeroDivisionError("surprise")
    return {"image": torch.ones(1, 2, 2, 2), "participant_id": item["participant_id"], "label": item["label"]}


def items(*images):
    return [{"image": image, "participant_id": f"sub-{n}", "label": n % 2} for n, image in enumerate(images)]


def test_a_broken_scan_is_named_and_the_rest_are_kept(caplog):
    with caplog.at_level(logging.WARNING, "neuroxai"):
        dataset = ScanDataset(items("a", "b", "broken", "odd", "c"), read, cache="memory")
    assert [item["participant_id"] for item in dataset.data] == ["sub-0", "sub-1", "sub-4"]
    assert [(f.participant_id, f.error) for f in dataset.failures] == [
        ("sub-2", "broken: is truncated; copy it again"),
        ("sub-3", "odd: cannot be used (ZeroDivisionError: surprise); look at the file"),
    ]
    assert "sub-2 is left out" in caplog.text
    assert len(dataset) == 3
    assert dataset[2]["participant_id"] == "sub-4"


def test_a_cohort_that_loses_a_whole_class_is_refused():
    with pytest.raises(InputError, match="1 of 2 scans cannot be used and one class is left"):
        ScanDataset(items("a", "broken"), read, cache="memory")
    with pytest.raises(InputError, match="2 of 2 scans cannot be used and none is left"):
        ScanDataset(items("broken", "broken"), read, cache="memory")


def test_the_next_batch_is_read_meanwhile_and_one_alone():
    read_now = []

    def batches():
        for n in range(5):
            read_now.append(n)
            yield n, []
        raise InputError("the disk is full")

    found = read_ahead(batches())
    assert next(found) == (0, [])
    for _ in range(200):
        if len(read_now) > 1:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert read_now == [0, 1]
    assert [next(found)[0] for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(InputError, match="disk is full"):
        next(found)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_loader_skips_what_cannot_be_read(batch_size):
    loader = ScanLoader(ScanDataset(items("a", "broken", "broken", "b", "c"), read), batch_size)
    for _ in range(2):  # a second pass does not count failures twice
        seen = [name for batch in loader for name in batch["participant_id"]]
        assert seen == ["sub-0", "sub-3", "sub-4"]
        assert [f.participant_id for f in loader.failures] == ["sub-1", "sub-2"]


def test_a_loader_with_nothing_readable_is_empty():
    loader = ScanLoader(ScanDataset(items("broken"), read), 2)
    assert list(loader) == []
    assert len(loader.failures) == 1


def test_the_cache_reads_once_and_random_transforms_run_each_time():
    reads, draws = [], []

    def reading(item):
        reads.append(item["image"])
        return read(item)

    dataset = ScanDataset(items("a", "b"), reading, lambda item: draws.append(1) or item, cache="memory")
    for _ in range(3):
        dataset[0]
    assert sorted(reads) == ["a", "b"]
    assert len(draws) == 3


def test_parts_are_opened_with_absolute_paths_and_equal_keys(tiny_cohort):
    part = open_part(str(tiny_cohort / "datalist.json"), "test", str(tiny_cohort))
    assert len(part) == 4
    assert {tuple(item) for item in part} == {("image", "label", "participant_id", "session_id")}
    assert all(str(item["image"]).startswith(str(tiny_cohort)) for item in part)


def test_a_training_run_refuses_a_subject_in_two_parts(tiny_cohort, tmp_path):
    datalist = read_json(tiny_cohort / "datalist.json")
    datalist["test"].append(datalist["training"][0])
    write_json(tmp_path / "leaky.json", datalist)
    with pytest.raises(LeakageError, match="sub-00"):
        open_part(str(tmp_path / "leaky.json"), "training", str(tiny_cohort))


def test_training_without_a_cache_ends_with_the_broken_scan_s_name(tmp_path):
    broken = tmp_path / "sub-2.nii.gz"
    broken.write_bytes(b"no scan")
    item = {"image": str(broken), "participant_id": "sub-2", "label": 0}
    for transform in (LoadScand("image"), Compose([LoadScand("image")])):
        loader = DataLoader(ScanDataset([item], transform), collate_fn=collate_whole)
        with pytest.raises(InputError, match=r"^sub-2: .*sub-2.nii.gz.*--cache memory"):
            next(iter(loader))
    good = DataLoader(ScanDataset([item], lambda item: {"x": torch.ones(2)}), collate_fn=collate_whole)
    assert next(iter(good))["x"].shape == (1, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_names_a_broken_scan_in_one_line_whoever_reads_it(tmp_path, workers):
    """What a worker process raises, torch repeats with its traceback as the message."""
    (tmp_path / "sub-2.nii.gz").write_bytes(b"no scan")
    item = {"image": str(tmp_path / "sub-2.nii.gz"), "participant_id": "sub-2", "label": 0}
    loader = WholeLoader(ScanDataset([item] * 3, LoadScand("image")), num_workers=workers, batch_size=2)
    with pytest.raises(InputError) as caught:
        next(iter(loader))
    assert str(caught.value).startswith("sub-2: ")
    assert len(str(caught.value).splitlines()) == 1
    good = WholeLoader(ScanDataset([item] * 3, lambda item: {"x": torch.ones(2)}), num_workers=workers, batch_size=2)
    assert [batch["x"].shape for batch in good] == [(2, 2), (1, 2)]
    assert len(good) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_cohort_the_broken_scans_are_named_and_the_others_go_on(tmp_path, workers):
    (tmp_path / "sub-2.nii.gz").write_bytes(b"no scan")
    for name in ("sub-1", "sub-3"):
        write_volume(tmp_path / f"{name}.nii.gz", Volume(np.arange(64.0).reshape(4, 4, 4), Space((4, 4, 4), np.eye(4))))
    items = [{"image": str(tmp_path / f"sub-{n}.nii.gz"), "participant_id": f"sub-{n}"} for n in (1, 2, 3)]
    loader = ScanLoader(ScanDataset(items, LoadScand("image")), batch_size=1, num_workers=workers)
    assert [name for batch in loader for name in batch["participant_id"]] == ["sub-1", "sub-3"]
    assert [(one.participant_id, "sub-2.nii.gz" in one.error) for one in loader.failures] == [("sub-2", True)]
