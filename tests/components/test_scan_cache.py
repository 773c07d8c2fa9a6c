from __future__ import annotations

import errno
import functools
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ScaleIntensityd

from neuroxai.components import LoadScand, NormaliseScand, ResampleToSpaced, ScanDataset, open_part
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
    assert Read.reads == 1  # the content is the same
    scan.write_bytes(b"abcd")
    assert len(cache(item(scan))["image"]) == 4
    assert Read.reads == 2
    # another content of the same size and time
    before = scan.stat()
    scan.write_bytes(b"abce")
    os.utime(scan, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache(item(scan))["image"].tolist() == list(b"abce")
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
        return Compose(
            [LoadScand("image"), ResampleToSpaced("image", mni152(spacing)), NormaliseScand("image", method)]
        )

    found = [recipe(preparing(*options)) for options in ((5, "minmax"), (5, "minmax"), (4, "minmax"), (5, "zscore"))]
    assert found[0] == found[1]
    assert found[0] not in found[2:]
    assert recipe(ScaleIntensityd("image", 0, 1)) != recipe(ScaleIntensityd("image", 0, 2))


def scaled_by(factor):
    return lambda image: image * factor


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


ALIKE_BUT_FOR_ONE_VALUE = {
    "array": (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    "large array": (np.arange(10**5), np.r_[np.arange(10**5 - 1), 0]),
    "dtype of an array": (np.zeros(2, np.float32), np.zeros(2, np.int32)),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "tensor": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])),
    "bfloat16": (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
    "dtype": (torch.float32, torch.float64),
    "numpy dtype": (np.dtype("float32"), np.dtype("float64")),
    "type": (np.float32, np.float64),
    "scalar": (np.float64(1), np.float64(2)),
    "lambda": (lambda x: x + 1, lambda x: x + 2),
    "closure": (scaled_by(1.0), scaled_by(2.0)),
    "partial": (functools.partial(torch.add, other=1), functools.partial(torch.add, other=2)),
    "ufunc": (np.add, np.subtract),
    "built-in": (torch.add, torch.sub),
    "method": (Read(1.0).__call__, Read(2.0).__call__),
    "bytes": (b"a", b"b"),
    "path": (Path("a"), Path("b")),
    "keys of two types": ({1: "x"}, {"1": "x"}),
    "slots": (Slotted(1), Slotted(2)),
    "layer": (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
    "int and float": (1, 1.0),
}


@pytest.mark.parametrize("name", ALIKE_BUT_FOR_ONE_VALUE)
def test_the_recipe_tells_values_of_every_kind_apart(name):
    one, other = (Read(value) for value in ALIKE_BUT_FOR_ONE_VALUE[name])
    assert json.dumps(recipe(one)) == json.dumps(recipe(one))
    assert json.dumps(recipe(one)) != json.dumps(recipe(other))


@pytest.mark.parametrize(
    "value", [np.random.default_rng(0), iter([1]), np.array([object()])], ids=lambda value: type(value).__name__
)
def test_what_cannot_be_described_is_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"cannot be told from those of another.*--cache memory"):
        ScanCache(tmp_path / "cache", Read(value))


def test_code_that_changed_gives_another_recipe(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "own_transform_of_a_test.py"
    module.write_text("class Own:\n    def __call__(self, item): return helper(item)\ndef helper(item): return item\n")
    import own_transform_of_a_test as own

    first = recipe(own.Own())
    module.write_text(module.read_text().replace("return item\n", "return {**item}\n"))
    assert recipe(own.Own()) != first


def test_disk_and_memory_give_the_same_items(tiny_cohort, tmp_path):
    transform = Compose([LoadScand("image"), ResampleToSpaced("image", mni152(10)), NormaliseScand("image")])
    items = open_part(str(tiny_cohort / "datalist.json"), "test", str(tiny_cohort))
    memory = ScanDataset(items, transform, cache="memory")
    disk = ScanDataset(items, transform, cache="disk", cache_dir=str(tmp_path / "cache"), shard=(1, 2))
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


def test_a_full_disk_loses_no_scan(scan, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "cache")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        ScanDataset([item(scan)] * 2, Read(), cache="disk", cache_dir=str(tmp_path / "cache"))


def test_an_error_names_the_file_and_the_cause(scan):
    class Broken(Read):
        def __call__(self, item):
            raise ZeroDivisionError("division by zero")

    with pytest.raises(InputError) as caught:
        ScanDataset([item(scan)], Compose([Broken()]), cache="memory")
    assert f"{scan}: cannot be used (ZeroDivisionError: division by zero)" in str(caught.value)
    assert "object at 0x" not in str(caught.value)


def test_an_unknown_cache_or_one_without_a_folder_is_refused(scan):
    with pytest.raises(InputError, match=r"cache 'ram'.*disk, memory, none"):
        ScanDataset([item(scan)], Read(), cache="ram")
    with pytest.raises(InputError, match="name one with cache_dir"):
        ScanDataset([item(scan)], Read(), cache="disk")
