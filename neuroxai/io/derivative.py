"""Folders of results: taken once, gone on with by the same choices alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroxai._version import __version__
from neuroxai.errors import InputError
from neuroxai.io.tables import read_json, write_json

_DESCRIPTION = "dataset_description.json"


def claim(
    folder: Path,
    generator: str,
    choices: Mapping[str, Any],
    about: Mapping[str, Any],
    what: str,
    begun: bool = True,
) -> None:
    """Take a new or empty folder, or one that was made with the same choices; refuse any other.

    Parameters
    ----------
    folder : pathlib.Path
        For the results; made if absent.
    generator : str
        What makes them, noted in ``dataset_description.json`` (BIDS) with its choices.
    choices : mapping
        All that decides what the results are, ready for JSON.
    about : mapping
        More of the description: name, BIDS version, licence.
    what : str
        The results in two words, for messages.
    begun : bool
        Whether anything came of the earlier choices: if not, others take their place.

    Raises
    ------
    InputError
        If the folder is a file, holds something else, or results of other choices.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the {what}")
    record = folder / _DESCRIPTION
    description = {**about, "GeneratedBy": [{"Name": generator, "Version": __version__, "Parameters": dict(choices)}]}
    if not record.exists():
        # a killed run may leave a temporary file behind
        strange = sorted(p.name for p in folder.iterdir() if ".tmp." not in p.name) if folder.exists() else []
        if strange:
            raise InputError(f"{folder}: is not empty (holds {strange[0]!r}) and is no {what}; name a new folder")
        write_json(record, description)
        return
    try:
        (generated,) = read_json(record)["GeneratedBy"]
        ours, there = generated["Name"] == generator, dict(generated["Parameters"])
    except (KeyError, TypeError, ValueError):
        # another maker's, or damaged: valid JSON of any kind
        ours, there = False, {}
    if not ours:
        raise InputError(f"{folder}: holds another data set ({_DESCRIPTION} names no {generator!r}); name a new folder")
    if not begun:
        write_json(record, description)
        return
    for name in {**choices, **there}:
        if there.get(name) != choices.get(name):
            raise InputError(
                f"{folder}: was made with {name} {there.get(name)!r}, now {choices.get(name)!r} is asked for; "
                f"use the same {name} to go on, or name a new folder"
            )
