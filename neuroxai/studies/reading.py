"""From YAML to a `Study`, or to sentences that name every key at fault."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from neuroxai.errors import InputError, one_of
from neuroxai.studies.spec import Study


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
        For a file that is absent or no YAML; `DeclarationError` for unknown keys and values of
        another type or out of range.
    """
    path = Path(source)
    known_file = path.suffix in (".yaml", ".yml") or path.is_file()
    if known_file and not path.is_file():
        raise InputError(f"{source}: no such file; give a YAML file, or one of {', '.join(names())}")
    values = load(_read(path) if known_file else text_of(source), source)
    small = values.pop("quick", None)
    if quick:
        if not isinstance(small, Mapping):
            raise InputError(f"{source}: has no block 'quick', which --quick asks for; add one, or leave --quick out")
        values = merged(values, small)
    values.setdefault("name", path.stem if known_file else source)
    return study_of(values, source)


def load(text: str, source: str) -> dict[str, Any]:
    """Parse YAML safely, as version 1.2 reads it: 010 is ten, NO is a text, 1e-4 a number; no key may stand twice.

    Raises
    ------
    InputError
        If it is no YAML, no mapping, or one whose aliases unfold to more than a declaration can mean.
    """
    try:
        node = _Loader(text).get_single_node()
        if node is not None:
            _check_nodes(node, source)
        values = _Loader(text).get_single_data()
    # a tag such as !!int before a text raises whatever Python's own conversion does
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{source}: is not valid YAML ({reason[:300]}); mend it there") from None
    if not isinstance(values, dict):
        raise InputError(f"{source}: holds a {type(values).__name__}, expected the keys of a study")
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is no UTF-8, expected a text file in UTF-8; save it in that encoding"
        ) from None


class _Loader(yaml.SafeLoader):
    """Safe, with the plain values of YAML 1.2's core schema alone."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # the stubs do not say ClassVar


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value).lower()
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
    ("merge", r"<<$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)

# what declarations hold at the most, aliases unfolded
_NODES = 100_000


def _check_nodes(node: yaml.Node, source: str) -> None:
    """Refuse keys that stand twice, circles, and aliases of aliases that would unfold without end."""
    sizes: dict[int, int] = {}

    def size(one: yaml.Node) -> int:
        if id(one) not in sizes:
            sizes[id(one)] = _NODES + 1  # until it is known: a node inside itself never ends
            parts = one.value if isinstance(one, yaml.SequenceNode | yaml.MappingNode) else []
            if isinstance(one, yaml.MappingNode):
                seen = set()
                for key, _ in one.value:
                    if not isinstance(key, yaml.ScalarNode):
                        raise InputError(f"{source}: line {key.start_mark.line + 1}: a key is no text, expected a name")
                    if key.value in seen:
                        raise InputError(f"{source}: key {key.value!r} stands twice (line {key.start_mark.line + 1})")
                    seen.add(key.value)
                parts = [part for _, part in one.value]
            sizes[id(one)] = 1 + sum(size(part) for part in parts)
        return sizes[id(one)]

    if size(node) > _NODES:
        raise InputError(f"{source}: unfolds to more than {_NODES} values, expected a study; leave out the aliases")


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


_STUDY = TypeAdapter(Study)


class DeclarationError(InputError):
    """A declaration with faults, all of them in `faults`, each a sentence that names its key."""

    def __init__(self, where: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        several = f"{len(faults)} faults\n  " if len(faults) > 1 else ""
        super().__init__(f"{where}: {several}" + "\n  ".join(faults))


def study_of(values: Any, where: str) -> Study:
    """Make a study of plain values.

    Parameters
    ----------
    values : mapping
        As YAML or JSON holds them.
    where : str
        What they were read from, for messages.

    Raises
    ------
    DeclarationError
        Naming every key at fault by its path, what was got, what is expected, and the nearest key for a misspelt one.
    """
    try:
        return _STUDY.validate_python(values)
    except ValidationError as error:
        raise DeclarationError(where, [_sentence(fault) for fault in error.errors(include_url=False)]) from None


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping of names",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
    "too_short": "at least one",
    "string_pattern_mismatch": "a name of letters, digits, '-', '_' and '.' only",
    "value_error": "{error}",
}
"""What was expected, by pydantic's kind of fault."""


def _sentence(fault: Mapping[str, Any]) -> str:
    """Say what is wrong with one value."""
    *before, last = fault["loc"] or ("",)
    if last == "[key]":
        *before, last = before
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys(_kind_at(before))
        where = f" in {_path(before)}" if before else ""
        return str(one_of(f"key{where}", last, known, nearest(last, known)))
    path = _path([*before, last])
    if fault["type"] in ("missing", "missing_argument"):
        return f"{_path(before) + ': ' if before else ''}key {last!r} is absent; add it"
    if fault["type"] in ("dataclass_type", "dataclass_exact_type"):
        expected = f"keys among {', '.join(_keys(_kind_at(fault['loc'])))}"
    else:
        expected = _EXPECTED.get(fault["type"], fault["msg"]).format(**fault.get("ctx", {}))
    return f"{path or 'the declaration'} is {fault['input']!r}, expected {expected}"


def nearest(name: Any, known: Iterable[str]) -> str:
    """Ask whether the known name most like a misspelt one is meant; empty where none is like it."""
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _path(loc: Iterable[str | int]) -> str:
    return ": ".join(str(part) if isinstance(part, str) else f"[{part}]" for part in loc).replace(": [", "[")


def _kind_at(loc: Iterable[str | int]) -> Any:
    """Return the declared type of the value at a place of a study."""
    kind: Any = Study
    for part in loc:
        if is_dataclass(kind):
            kind = get_type_hints(kind)[str(part)]
        else:  # an entry of a mapping or a list
            kind = get_args(kind)[-1]
        if get_origin(kind) in (Union, types.UnionType):
            kind = get_args(kind)[0]
    return kind


def _keys(kind: Any) -> list[str]:
    return list(get_type_hints(kind))


def _presets() -> Any:
    return resources.files("neuroxai.studies") / "presets"
