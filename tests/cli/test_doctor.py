"""What the doctor says is what is there."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch

from helpers.command import run
from neuroxai.cli import doctor
from neuroxai.errors import InputError

NEEDS = [
    "torch>=2.6",
    "captum<0.10,>=0.9",
    "rich>=13",
    'fire>=0.7; extra == "train"',
    'antspyx>=0.6; extra == "prepare"',
    'itk>=5; extra == "prepare"',
    'rich>=13; extra == "verify"',
    'sphinx>=8; python_version >= "3.11" and extra == "docs"',
]


@pytest.fixture
def needs(monkeypatch):
    """The package's metadata, whichever installation this is."""
    monkeypatch.setattr(metadata, "requires", lambda name: NEEDS if name == "neuroxai" else None)


@pytest.fixture
def without(monkeypatch):
    version = metadata.version

    def take(**others):
        def found(name):
            if name in others:
                if others[name] is None:
                    raise metadata.PackageNotFoundError(name)
                return others[name]
            return version(name)

        monkeypatch.setattr(metadata, "version", found)

    return take


def test_it_finds_what_is_installed(needs):
    result = run("doctor", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert (
        found["packages"]["torch"] == torch.__version__.split("+")[0] or found["packages"]["torch"] == torch.__version__
    )
    assert found["absent"] == []
    assert len(found["gpus"]) == torch.cuda.device_count()
    assert "builtin" in found["atlases"]
    assert found["free_gb"] > 0
    assert list(found["packages"]) == ["torch", "captum", "rich"]  # by the metadata, without extras
    assert list(found["extras"]) == ["fire", "antspyx", "itk"]  # those that a user may want
    text = run("doctor").out
    assert f"torch             {found['packages']['torch']}" in text
    assert "atlases: builtin" in text
    assert f"\nready for: {doctor.CORE}\n" in text


def test_what_is_absent_is_named_with_its_extra(needs, without):
    without(captum=None, antspyx=None)
    found = doctor.examined()
    assert found["absent"] == ["captum"]
    lines = doctor._lines(found)
    assert "  captum            ABSENT: run `pip install neuroxai` again" in lines
    assert "  antspyx           absent: `pip install neuroxai[prepare]` for preparing scans, and DICOM series" in lines
    assert lines[-1] == "not for: anything, because captum is absent; run `pip install --upgrade neuroxai`"
    assert not [line for line in lines if line.startswith("ready for")]
    assert run("doctor").code == 1


def test_the_verdict(needs, without):
    without(antspyx=None, itk="4.9", fire="0.7.1")
    lines = doctor._lines({**doctor.examined()})
    assert "ready for: `neuroxai train` and `quickstart`" in lines
    (line,) = [line for line in lines if "preparing scans" in line and line.startswith("not for")]
    assert line == (
        "not for: preparing scans, and DICOM series, because antspyx is absent, itk is 4.9, expected >=5; "
        "run `pip install 'neuroxai[prepare]'`"
    )
    without(torch="2.5")
    assert run("doctor").code == 1
    assert "because torch is 2.5, expected >=2.6" in run("doctor").out


def test_little_room_is_told(needs):
    found = {**doctor.examined(), "free_gb": 3.0, "gpus": [{"number": 0, "name": "H", "memory_gb": 80.0}]}
    lines = doctor._lines({**found, **doctor._verdict(found, {})})
    assert "disk: 3.0 GB free here; less than 10 GB, make room" in lines
    assert "GPUs: 0: H, 80.0 GB" in lines
    assert lines[-1] == "not for: cohorts and trainings of any size, because 3.0 GB are free; make room"


def test_where_the_package_is_not_installed(monkeypatch):
    def absent(_):
        raise metadata.PackageNotFoundError("neuroxai")

    monkeypatch.setattr(metadata, "requires", absent)
    with pytest.raises(InputError, match="run `pip install neuroxai`"):
        doctor.examined()
