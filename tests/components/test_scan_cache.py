from __future__ import annotations

import logging
import os

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ScaleIntensityd

from neuroxai.components import LoadScand, NormaliseScand, ScanDataset, ToSpaced, open_part
from neuroxai.components.scan_cache import ScanCache, recipe
from neuroxai.errors import InputError
from neuroxai.space import mni152


class Read:
    """Reads a file's bytes and counts."""

    def __init__(self, factor=1.0, meta=False):
        self.factor = factor
        self.meta = meta
        Read.reads = 0

    def __call__(self, item):
        Read.reads += 1
        with open(item["image"], "rb") as file:
            image = torch.tensor(list(file.read()), dtype=torch.float32) * self.factor
        return {**item, "image": MetaTensor(image) if self.meta else image, "source": item["image"]}


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan"
    path.write_bytes(b"abc")
    return path


def item(scan, **others):
    return {"image": str(scan), "participant_id": "sub-1", "label": 0, **others}


@pytest.mark.parametrize("meta", [False, True])
def test_a_scan_is_prepared_once(scan, tmp_path, meta):
    cache = ScanCache(tmp_path / "cache", Read(meta=meta))
    first, second = cache(item(scan)), cache(item(scan))
    assert Read.reads == 1
    assert torch.equal(first["image"], second["image"])
    assert second["source"] == str(scan)
    # what the datalist says is the datalist's of the day
    assert cache(item(scan, label=1))["label"] == 1
    assert Read.reads == 1


def test_a_changed_scan_and_a_changed_transform_are_prepared_anew(scan, tmp_path):
    cache = ScanCache(tmp_path / "cache", Read())
    cache(item(scan))
    os.utime(scan, ns=(1, 1))
    cache(item(scan))
    assert Read.reads == 2
    scan.write_bytes(b"abcd")
    assert len(cache(item(scan))["image"]) == 4
    assert Read.reads == 3
    other = ScanCache(tmp_path / "cache", Read(factor=2.0))
    assert torch.equal(other(item(scan))["image"], 2 * cache(item(scan))["image"])


def test_a_damaged_file_is_made_anew(scan, tmp_path, caplog):
    cache = ScanCache(tmp_path / "cache", Read())
    wanted = cache(item(scan))["image"]
    (file,) = (tmp_path / "cache").iterdir()
    for content in (b"", file.read_bytes()[:200], b"no weights at all"):
        file.write_bytes(content)
        with caplog.at_level(logging.WARNING, "neuroxai"):
            assert torch.equal(cache(item(scan))["image"], wanted)
        assert "is made anew" in caplog.text
        assert torch.equal(cache(item(scan))["image"], wanted)
    assert [file] == list((tmp_path / "cache").iterdir())


def test_the_recipe_tells_options_apart():
    def preparing(spacing, method):
        return Compose([LoadScand("image"), ToSpaced("image", mni152(spacing)), NormaliseScand("image", method)])

    found = [recipe(preparing(*options)) for options in ((5, "minmax"), (5, "minmax"), (4, "minmax"), (5, "zscore"))]
    assert found[0] == found[1]
    assert found[0] not in found[2:]
    assert recipe(ScaleIntensityd("image", 0, 1)) != recipe(ScaleIntensityd("image", 0, 2))


def test_disk_and_memory_give_the_same_items(tiny_cohort, tmp_path):
    transform = Compose([LoadScand("image"), ToSpaced("image", mni152(10)), NormaliseScand("image")])
    items = open_part(str(tiny_cohort / "datalist.json"), "test", str(tiny_cohort))
    memory = ScanDataset(items, transform, cache="memory")
    disk = ScanDataset(items, transform, cache="disk", cache_dir=str(tmp_path / "cache"), turn=(1, 2))
    assert len(list((tmp_path / "cache").iterdir())) == len(items)
    for one, other in zip(memory, disk, strict=True):
        assert one.keys() == other.keys()
        assert torch.equal(one["image"].as_tensor(), other["image"])
        assert torch.equal(one["scan_affine"], other["scan_affine"])
        assert one["participant_id"] == other["participant_id"]


def test_a_broken_scan_is_left_out_of_a_cache_on_disk(scan, tmp_path):
    data = [item(scan), item(tmp_path / "absent", participant_id="sub-2", label=1), item(scan, label=1)]
    dataset = ScanDataset(data, Read(), cache="disk", cache_dir=str(tmp_path / "cache"))
    assert [one["participant_id"] for one in dataset.data] == ["sub-1", "sub-1"]
    assert [failure.participant_id for failure in dataset.failures] == ["sub-2"]


def test_an_unknown_cache_or_one_without_a_folder_is_refused(scan):
    with pytest.raises(InputError, match="unknown cache 'ram'; choose one of: disk, memory, none"):
        ScanDataset([item(scan)], Read(), cache="ram")
    with pytest.raises(InputError, match="name one with cache_dir"):
        ScanDataset([item(scan)], Read(), cache="disk")
