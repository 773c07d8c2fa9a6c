"""What the doctor says is what is there."""

from __future__ import annotations

import json

import torch

from helpers.command import run
from neuroxai.cli import doctor


def test_it_finds_what_is_installed():
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
    text = run("doctor").out
    assert f"torch           {found['packages']['torch']}" in text
    assert "atlases: builtin" in text


def test_what_is_absent_is_named_with_its_extra(monkeypatch):
    from importlib import metadata

    version = metadata.version

    def without(name):
        if name in ("captum", "antspyx"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    found = doctor.examined()
    assert found["absent"] == ["captum"]
    lines = "\n".join(doctor._lines(found))
    assert "captum          ABSENT" in lines
    assert "antspyx         absent: `pip install neuroxai[prepare]` for non-linear registration" in lines


def test_little_room_is_told(monkeypatch):
    found = {**doctor.examined(), "free_gb": 3.0, "gpus": [{"number": 0, "name": "H", "memory_gb": 80.0}]}
    lines = doctor._lines(found)
    assert lines[-1] == "disk: 3.0 GB free here; less than 10 GB, make room"
    assert "GPUs: 0: H, 80.0 GB" in lines
