"""Prepared scans on disk: read back memory-mapped, so that a cohort larger than memory trains as fast."""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import logging
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuroxai._version import __version__
from neuroxai.errors import InputError
from neuroxai.io import atomic, content_sha256
from neuroxai.space import Space

_log = logging.getLogger("neuroxai")


class ScanCache:
    """Results of deterministic transforms, one file a scan.

    A file is found again by the scan's path and content and by the transforms with their code and options, so that a
    changed scan, transform or option is prepared anew. Several processes may share the folder: files appear whole.

    Parameters
    ----------
    folder : path_like
        Where the files lie; made on first use. Old files are not removed.
    transform : callable
        What prepares a scan.

    Raises
    ------
    InputError
        If the transform holds what cannot be described (see `recipe`).
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
        seen = [str(image), content_sha256(image) if image.is_file() else None]
        return hashlib.sha256(json.dumps([self._recipe, seen]).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    # MONAI's tensors with metadata would need pickle to be read
    return value.as_tensor() if hasattr(value, "as_tensor") else value


def recipe(part: Any) -> Any:
    """Describe a transform by its code and options, and what it is composed of, in plain values.

    Arrays and tensors are described by their contents, functions and classes by their code.

    Raises
    ------
    InputError
        For what cannot be described: two of its kind could not be told apart.
    """
    return _described(part, ())


def _described(part: Any, above: tuple[int, ...]) -> Any:
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if id(part) in above:
        return ["above", len(above) - above.index(id(part))]

    def within(value: Any) -> Any:
        return _described(value, (*above, id(part)))

    if isinstance(part, Mapping):
        return [type(part).__qualname__, [[within(key), within(value)] for key, value in part.items()]]
    if isinstance(part, list | tuple):
        return [within(value) for value in part]
    if isinstance(part, set | frozenset):
        return ["set", sorted((within(value) for value in part), key=json.dumps)]
    if isinstance(part, torch.Tensor):
        plain = part.detach().cpu().contiguous()
        return [
            "tensor",
            str(part.dtype),
            list(part.shape),
            _digest(plain.flatten().view(torch.uint8).numpy().tobytes()),
        ]
    if isinstance(part, np.ndarray | np.generic) and not np.asarray(part).dtype.hasobject:
        array = np.ascontiguousarray(part)
        return ["array", str(array.dtype), list(array.shape), _digest(array.tobytes())]
    if isinstance(part, bytes | bytearray):
        return ["bytes", _digest(bytes(part))]
    if isinstance(part, Space):
        return part.to_dict()
    if isinstance(part, torch.dtype | torch.device | np.dtype | os.PathLike | complex | slice | range):
        return [type(part).__qualname__, str(part)]
    if isinstance(part, enum.Enum):
        return [*_class(type(part)), part.name]
    if isinstance(part, type):
        return _class(part)
    if isinstance(part, functools.partial):
        return ["partial", within(part.func), within(part.args), within(part.keywords)]
    if isinstance(part, types.MethodType):
        return ["method", part.__name__, within(part.__self__)]
    if isinstance(part, types.FunctionType):
        cells = [within(cell.cell_contents) for cell in part.__closure__ or ()]
        options = [within(part.__defaults__), within(part.__kwdefaults__), cells]
        return [part.__module__, part.__qualname__, _source(part.__module__), _code(part.__code__), *options]
    if isinstance(part, types.BuiltinFunctionType | np.ufunc):
        return [str(getattr(part, "__module__", "")), part.__name__]
    if hasattr(part, "__dict__") or _slots(part):
        held = {name: getattr(part, name) for name in _slots(part)} | getattr(part, "__dict__", {})
        # R is the generator of MONAI's random transforms; its state is no option
        return [*_class(type(part)), {name: within(value) for name, value in held.items() if name not in ("R", "_R")}]
    raise InputError(
        f"a transform holds a {type(part).__module__}.{type(part).__qualname__}, by which prepared scans on disk "
        "cannot be told from those of another; expected plain values, arrays, tensors or functions. Use --cache memory"
    )


def _class(kind: type) -> list[Any]:
    source = _source(kind.__module__)
    if source is None:  # made in a notebook or a terminal
        own = {
            name: _code(value.__code__) for name, value in vars(kind).items() if isinstance(value, types.FunctionType)
        }
        return [kind.__module__, kind.__qualname__, own]
    return [kind.__module__, kind.__qualname__, source]


def _slots(part: Any) -> list[str]:
    names = [name for kind in type(part).__mro__ for name in np.atleast_1d(getattr(kind, "__slots__", ()))]
    return [str(name) for name in names if hasattr(part, str(name)) and name not in ("__dict__", "__weakref__")]


def _source(module: str) -> str | None:
    """Return the checksum of a module's source: what it computes changes with it."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return content_sha256(file) if file and file.endswith(".py") and os.path.isfile(file) else None


def _code(code: types.CodeType) -> str:
    constants = [_code(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return _digest(repr([code.co_code.hex(), constants, code.co_names, code.co_varnames]).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
