"""Frozen dataclasses to JSON objects and back: keys in the order of fields, none that a reader knows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar


class Record(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Record)


def codec(
    key: str | None = None,
    write: Callable[[Any], Any] | None = None,
    read: Callable[[Any], Any] | None = None,
    absent: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a field that stands otherwise in JSON.

    Parameters
    ----------
    key : str, optional
        The object's key; the field's name by default.
    write, read : callable, optional
        From the value to what JSON holds, and back; not called for None.
    absent : bool
        Leave the key out where the value is None.
    """
    return {"key": key, "write": write, "read": read, "absent": absent}


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as an object for JSON."""
    found = {}
    for item in fields(record):
        value, write = getattr(record, item.name), item.metadata.get("write")
        if value is None and item.metadata.get("absent"):
            continue
        found[item.metadata.get("key") or item.name] = value if value is None or write is None else write(value)
    return found


def from_json(kind: type[R], values: Mapping[str, Any]) -> R:
    """Make a record of an object; keys that it does not know are left out.

    Raises
    ------
    TypeError, KeyError, ValueError
        If a value cannot be read, or one without a default is absent.
    """
    found = {}
    for item in fields(kind):
        key, read = item.metadata.get("key") or item.name, item.metadata.get("read")
        if key in values:
            found[item.name] = values[key] if values[key] is None or read is None else read(values[key])
    return kind(**found)
