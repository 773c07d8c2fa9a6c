"""Where a command may write: never onto an input, never over what somebody else has written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from neuroxai.errors import InputError
from neuroxai.io.tables import read_json

_LONGEST_HEADER = 1 << 20  # bytes
Place = str | os.PathLike[str]


def check_file(
    option: str, path: Place, inputs: Iterable[Place | None], ours: Callable[[Path], bool], what: str
) -> None:
    """Refuse a file to write that is an input, or that exists and is nothing which the command writes.

    Parameters
    ----------
    option : str
        How the user names it, for messages: ``"--out"``.
    path : path_like
        The file.
    inputs : iterable of path_like or None
        Files and folders that the command reads.
    ours : callable
        Whether an existing file is such as the command writes, and so may be replaced; `table_of` and `json_of` make
        such.
    what : str
        What the command writes there, for messages.

    Raises
    ------
    InputError
        Naming it.
    """
    target = Path(path)
    _not_an_input(option, target, inputs)
    if target.is_dir():
        raise InputError(f"{option} {target}: is a folder, expected a file for the {what}; add a file's name")
    if target.exists() and not target.is_file():
        raise InputError(
            f"{option} {target}: is a pipe, a socket or a device, expected a file for the {what}; name one"
        )
    if target.exists() and not ours(target):
        raise InputError(
            f"{option} {target}: exists and is no {what}, and would be lost; name a new file, or delete that one first"
        )


def check_folder(
    option: str,
    path: Place,
    inputs: Iterable[Place | None],
    ours: Mapping[str, Callable[[Path], bool]] | None = None,
    apart: Iterable[Place | None] = (),
) -> None:
    """Refuse a folder to write to that is an input or a participant's in one, or in which strange files would be lost.

    Parameters
    ----------
    option, path, inputs
        As for `check_file`.
    ours : mapping of str to callable
        For names that the command writes in the folder: whether an existing file is such as it writes.
    apart : iterable of path_like or None
        Inputs in which results may not lie at any depth.

    Raises
    ------
    InputError
        Naming it.
    """
    target = Path(path)
    given, separate = [Path(one) for one in inputs if one is not None], [Path(one) for one in apart if one is not None]
    if target.exists() and not target.is_dir():
        raise InputError(f"{option} {target}: is a file, expected a folder; choose another path")
    _not_an_input(option, target, [*given, *separate])
    full = Path(os.path.realpath(target))
    for one in (*given, *separate):
        base = Path(os.path.realpath(one))
        if base not in full.parents or not base.is_dir():
            continue
        if one in separate or full.relative_to(base).parts[0].startswith("sub-"):
            raise InputError(f"{option} {target}: lies among the inputs in {one}; name a folder apart from them")
    for name, known in (ours or {}).items():
        if (target / name).is_file() and not known(target / name):
            raise InputError(
                f"{option} {target}: holds {name} of somebody else, which would be lost; name a new folder"
            )


def _not_an_input(option: str, path: Path, inputs: Iterable[Place | None]) -> None:
    for one in inputs:
        if one is None:
            continue
        same = os.path.realpath(path) == os.path.realpath(one)
        if same or (os.path.exists(path) and os.path.exists(one) and os.path.samefile(path, one)):
            raise InputError(f"{option} {path}: is an input of this command and would be lost; name another path")


def table_of(*columns: str) -> Callable[[Path], bool]:
    """Return what recognises a table by its columns; one that ends in ``*`` stands for any with this beginning."""

    def known(path: Path) -> bool:
        with path.open("rb") as handle:
            header = handle.readline(_LONGEST_HEADER).decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
        return all(
            any(name.startswith(column[:-1]) if column.endswith("*") else name == column for name in header)
            for column in columns
        )

    return known


def json_of(*keys: str) -> Callable[[Path], bool]:
    """Return what recognises a JSON object by its keys."""

    def known(path: Path) -> bool:
        try:
            value = read_json(path)
        except InputError:
            return False
        return isinstance(value, dict) and all(key in value for key in keys)

    return known
