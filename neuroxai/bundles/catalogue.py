"""The bundles that come with the package: in ``bundles/`` of a checkout, in the wheel beside the code."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from neuroxai.errors import InputError, one_of
from neuroxai.io import read_object

WRITTEN = ("models", "eval")
"""Folders that training and evaluation write into a bundle."""


def catalogue() -> Path:
    """Return the folder of the bundles."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "shipped_bundles"  # where setup.py puts them
    return shipped if shipped.is_dir() else package.parent / "bundles"


def names(folder: Path | None = None) -> list[str]:
    """Return the names of the bundles."""
    return sorted(path.parents[1].name for path in (folder or catalogue()).glob("*/configs/train.json"))


def described(name: str) -> dict[str, str]:
    """Return what a bundle's metadata say of it: its task, description and version."""
    metadata = read_object(bundle_folder(name) / "configs" / "metadata.json", "bundle's metadata")
    return {"name": name, **{key: str(metadata.get(key, "")) for key in ("task", "description", "version")}}


def bundle_folder(name: str, base: Path | None = None) -> Path:
    """Return the folder of a bundle: a path as it is, a name from those that come with the package.

    Raises
    ------
    InputError
        If there is none.
    """
    given = Path(name).expanduser()
    if (given / "configs" / "train.json").is_file():
        return given.resolve()
    beside = base or catalogue()
    if name in names(beside):
        return beside / name
    raise one_of("bundle", name, names(beside), "Or give the folder of one.")


def copy_bundle(name: str, folder: Path, others: Sequence[str] = WRITTEN) -> Path:
    """Copy a bundle's configurations and documents to a new folder, whole or not at all.

    Parameters
    ----------
    name : str
        A name or folder, as `bundle_folder` takes it.
    folder : pathlib.Path
        For the copy; absent or empty.
    others : sequence of str
        What is left behind: weights and results.

    Raises
    ------
    InputError
        If there is no such bundle, or the folder holds something.
    """
    source = bundle_folder(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty or no folder; name a new folder for the bundle")
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=parent) as scratch:
        copy = shutil.copytree(source, Path(scratch) / "bundle", ignore=shutil.ignore_patterns(*others))
        copy.rename(folder)
    return folder
