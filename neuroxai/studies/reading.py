"""From YAML to a `Study`: every key is known, every value of its type, or the key and the choices are named."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from neuroxai.errors import InputError, one_of
from neuroxai.studies.declaration import Study

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def names() -> list[str]:
    """Return the names of the studies that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _presets().iterdir() if p.name.endswith(".yaml"))


def text_of(name: str) -> str:
    """Return the declaration of a study that comes with the package, as written.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in names():
        raise one_of("study", name, names(), "Or give the path of a YAML file.")
    return str((_presets() / f"{name}.yaml").read_text(encoding="utf-8"))


def read_study(source: str, quick: bool = False) -> Study:
    """Read a declaration.

    Parameters
    ----------
    source : str
        A name of `names`, or the path of a YAML file.
    quick : bool
        Put the block ``quick`` of the declaration over the rest: a small version that runs in minutes.

    Returns
    -------
    Study
        Types and keys are checked; `neuroxai.studies.check.check` looks at what the values name.

    Raises
    ------
    InputError
        For a file that is absent or no YAML, an unknown key, or a value of another type.
    """
    path = Path(source)
    known_file = path.suffix in (".yaml", ".yml") or path.is_file()
    if known_file and not path.is_file():
        raise InputError(f"{source}: no such file; give a YAML file, or one of {', '.join(names())}")
    values = load(path.read_text(encoding="utf-8") if known_file else text_of(source), source)
    small = values.pop("quick", None)
    if quick:
        if not isinstance(small, Mapping):
            raise InputError(f"{source}: has no block 'quick', which --quick asks for; add one, or leave --quick out")
        values = merged(values, small)
    values.setdefault("name", path.stem if known_file else source)
    study: Study = build(Study, values, source)
    for kind, entries in (("cohort", study.cohorts), ("arm", study.arms), ("explanation", study.explain)):
        for name in entries:
            if not _NAME.fullmatch(name):
                raise InputError(f"{source}: {kind} {name!r}: a name has letters, digits, '-', '_' and '.' only")
    return study


def load(text: str, source: str) -> dict[str, Any]:
    """Parse YAML safely; 1e-4 is a number, as in YAML 1.2, and no key may stand twice.

    Raises
    ------
    InputError
        If it is no YAML, or no mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe, with the numbers of YAML 1.2."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise InputError(f"{source}: key {key.value!r} stands twice (line {key.start_mark.line + 1})")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][-+]?\d+)?$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789."))
    integer = re.compile(r"[-+]?\d+$")
    # looked at in order: whole numbers before others
    for first in "-+0123456789":
        Loader.yaml_implicit_resolvers[first].insert(0, ("tag:yaml.org,2002:int", integer))
    try:
        values = Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise InputError(f"{source}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise InputError(f"{source}: holds a {type(values).__name__}, wanted the keys of a study")
    return values


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put one mapping over another, key by key; ``null`` removes a key, anything but a mapping replaces it."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def build(kind: Any, values: Any, where: str) -> Any:
    """Make a dataclass of plain values, checking keys and types all the way down.

    Raises
    ------
    InputError
        Naming the key by its path, what was got and what was wanted.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: is {values!r}, wanted keys among {', '.join(f.name for f in fields(kind))}")
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            raise one_of(f"key in {where}", key, known)
    for name, item in known.items():
        if name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise InputError(f"{where}: key {name!r} is absent; add it")
    hints = get_type_hints(kind)
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _value(arguments[0], value, where)
    if is_dataclass(hint):
        return build(hint, value, where)
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise InputError(f"{where}: is {value!r}, wanted a mapping of names")
        return {key: _value(arguments[1], item, f"{where}: {key}") for key, item in value.items()}
    if origin is list:
        if not isinstance(value, list):
            raise InputError(f"{where}: is {value!r}, wanted a list")
        return [_value(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(value)]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where}: is {value!r}, wanted {_WORDS.get(hint, hint.__name__)}")
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _presets() -> Any:
    return resources.files("neuroxai.studies") / "presets"
