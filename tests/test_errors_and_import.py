from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import neuroxai
from neuroxai.errors import (
    InputError,
    LeakageError,
    NeuroxaiError,
    SpaceError,
    UnsupportedLayerError,
    one_of,
    refused_by_the_system,
)

HEAVY = ("torch", "pandas", "monai", "scipy", "nibabel", "nilearn", "matplotlib", "captum", "sklearn")


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_import_pulls_in_nothing_heavy():
    assert not loaded_after("import neuroxai") & {*HEAVY, "numpy"}


def test_the_data_rooms_and_the_command_line_start_without_torch_and_pandas():
    for code in ("import neuroxai.cohort", "import neuroxai.io", "import neuroxai.cli.main"):
        assert not loaded_after(code) & {"torch", "pandas", "monai", "nilearn", "matplotlib"}, code


def test_names_are_listed_and_found_on_first_use():
    assert {"cohort", "io", "space", "__version__"} <= set(dir(neuroxai))
    assert neuroxai.space.Space is not None
    assert loaded_after("import neuroxai; neuroxai.space") & {"numpy"}
    with pytest.raises(AttributeError, match=r"no attribute 'spice'; it offers .*space"):
        _ = neuroxai.spice


@pytest.mark.parametrize("room", ["preprocess", "atlas"])
def test_a_room_lists_the_names_that_it_imports_on_first_use(room):
    module = import_module(f"neuroxai.{room}")
    assert dir(module) == sorted(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'spice'; it offers "):
        _ = module.spice


def test_the_systems_refusals_are_told_and_bugs_are_not():
    assert "leads back to itself" in (refused_by_the_system(OSError(40, "Too many levels of links", "a")) or "")
    loop = RuntimeError("Symlink loop")
    loop.__context__ = OSError(40, "Too many levels of links", "a")
    assert refused_by_the_system(loop) == ("a: is a link that leads back to itself; link it to the file that is meant")
    assert refused_by_the_system(RuntimeError("bug")) is None
    assert refused_by_the_system(PermissionError(13, "Permission denied", "a.nii")) == (
        "a.nii: Permission denied; change its rights, or choose another"
    )
    assert (
        refused_by_the_system(OSError(28, "No space left on device")) == "the disk: No space left on device; make room"
    )
    for bug in (FileNotFoundError(2, "No such file", "a.nii"), OSError("x"), KeyError("x")):
        assert refused_by_the_system(bug) is None


def test_every_error_is_a_neuroxai_error():
    for kind in (InputError, LeakageError, SpaceError, UnsupportedLayerError):
        assert issubclass(kind, NeuroxaiError)
    assert issubclass(LeakageError, InputError)
    assert issubclass(InputError, ValueError)


def test_one_of_names_what_was_got_and_wanted():
    error = one_of("atlas", "x", {"b", "a"}, "See the list.")
    assert str(error) == "unknown atlas 'x'; choose one of: a, b. See the list."


def test_ours_follows_causes_and_not_mere_contexts():
    from neuroxai.errors import SpaceError, ours

    wanted, wrapped, bug = SpaceError("grid"), RuntimeError("applying transform"), KeyError("a bug")
    wrapped.__cause__ = wanted
    bug.__context__ = wanted
    assert ours(wrapped) is wanted
    assert ours(bug) is None
    assert ours(None) is None
