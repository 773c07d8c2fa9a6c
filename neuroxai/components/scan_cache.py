"""Prepared scans on disk: read back memory-mapped, so that a cohort larger than memory trains as fast."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from neuroxai._version import __version__
from neuroxai.io import atomic
from neuroxai.space import Space

_log = logging.getLogger("neuroxai")


class ScanCache:
    """Results of deterministic transforms, one file a scan.

    A file is found again by the scan's path, size and time of change and by the transforms with their options, so that
    a changed scan or option is prepared anew. Several processes may share the folder: files appear whole.

    Parameters
    ----------
    folder : path_like
        Where the files lie; made on first use. Old files are not removed.
    transform : callable
        What prepares a scan.
    """

    def __init__(self, folder: str | os.PathLike[str], transform: Callable[[Any], Any]) -> None:
        self.folder = Path(folder)
        self.transform = transform
        self._recipe = json.dumps([__version__, recipe(transform)])

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return an item prepared, from the cache or anew."""
        path = self.folder / f"{self._key(item)}.pt"
        if path.is_file():
            try:
                return {**item, **torch.load(path, weights_only=True, mmap=True)}
            except Exception as error:  # damaged files make torch raise almost anything
                _log.warning("%s cannot be read (%s) and is made anew", path, type(error).__name__)
        prepared = dict(self.transform(item))
        # labels and identifiers belong to the datalist of the day
        made = {key: _plain(value) for key, value in prepared.items() if key not in item or value is not item[key]}
        with atomic(path) as temporary:
            torch.save(made, temporary)
        return prepared

    def _key(self, item: Mapping[str, Any]) -> str:
        image = Path(item["image"]).resolve()
        facts = image.stat() if image.is_file() else None
        seen = [str(image), facts.st_size if facts else None, facts.st_mtime_ns if facts else None]
        return hashlib.sha256(json.dumps([self._recipe, seen]).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    # MONAI's tensors with metadata would need pickle to be read
    return value.as_tensor() if hasattr(value, "as_tensor") else value


def recipe(part: Any) -> Any:
    """Describe a transform by its class and options, and what it is composed of, in plain values."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Space):
        return part.to_dict()
    if isinstance(part, Mapping):
        return {str(key): recipe(value) for key, value in part.items()}
    if isinstance(part, list | tuple | set | frozenset):
        return [recipe(value) for value in part]
    name = getattr(part, "__qualname__", type(part).__qualname__)
    # R is the generator of MONAI's random transforms; its state is no option
    options = {key: recipe(value) for key, value in getattr(part, "__dict__", {}).items() if key not in ("R", "_R")}
    return [getattr(part, "__module__", ""), name, options]
