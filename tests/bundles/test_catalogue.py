"""The bundles that come with the package are found by name, and copied whole or not at all."""

import json
import shutil

import pytest

from helpers.bundles import AD, MS, SEX
from helpers.command import run
from neuroxai.bundles.catalogue import bundle_folder, catalogue, copy_bundle, names
from neuroxai.errors import InputError


def test_names_and_folders():
    assert names() == sorted([AD.name, MS.name, SEX.name])
    assert bundle_folder(AD.name) == AD
    assert bundle_folder(str(MS)) == MS
    with pytest.raises(InputError, match=r"unknown bundle 'brain'.*brain_flair_ms_classification"):
        bundle_folder("brain")
    listed = json.loads(run("bundle", "list", "--json").out)
    assert [one["name"] for one in listed] == names()
    assert all(one["task"] and one["version"] for one in listed)


def test_a_copy_has_no_weights(tmp_path):
    trained = shutil.copytree(AD, tmp_path / "trained", ignore=shutil.ignore_patterns("models", "eval"))
    (trained / "models").mkdir()
    (trained / "models" / "model.pt").write_text("weights")
    (tmp_path / "mine").mkdir()
    for source, target in ((str(trained), tmp_path / "mine"), (SEX.name, tmp_path / "deep" / "other")):
        copied = copy_bundle(source, target)
        assert not (copied / "models").exists()
        files = {p.relative_to(copied) for p in copied.rglob("*") if p.is_file()}
        original = bundle_folder(source)
        assert files == {
            p.relative_to(original)
            for p in original.rglob("*")
            if p.is_file() and {"models", "eval"}.isdisjoint(p.parts)
        }
    with pytest.raises(InputError, match="is not empty"):
        copy_bundle(AD.name, tmp_path / "mine")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "mine", "trained"]
    said = run("bundle", "copy", AD.name, tmp_path / "third")
    assert said.out.startswith(f"{tmp_path / 'third'}: train it with `neuroxai train")


def test_a_wheel_has_them_inside(tmp_path, monkeypatch):
    from neuroxai.bundles import catalogue as module

    (tmp_path / "neuroxai" / "shipped_bundles").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "neuroxai" / "bundles" / "catalogue.py"))
    assert catalogue() == tmp_path / "neuroxai" / "shipped_bundles"
