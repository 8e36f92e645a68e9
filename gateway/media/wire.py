"""Frozen dataclasses as bencodable values: what the seam's arguments look like between signalling and its workers.

A dataclass is a dictionary of its fields, an enumeration its value, a tuple a list, a truth 0 or 1. A field that is
None is left out. The type hints of the dataclass say how to read it back, so `unpack(type(x), pack(x)) == x`.
"""

from __future__ import annotations

import enum
import functools
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from gateway.errors import NgError

T = TypeVar("T")


def pack(value: Any) -> Any:
    """A value of int, str, list and dict. A float is text, because bencode has none."""
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if is_dataclass(value):
        named = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: pack(item) for name, item in named if item is not None}
    if isinstance(value, (tuple, list)):
        return [pack(item) for item in value]
    if isinstance(value, float):
        return repr(value)
    return int(value) if isinstance(value, bool) else value


def unpack(kind: type[T], data: Any) -> T:
    """What `pack` was given. Raises NgError for anything that `kind` cannot be."""
    try:
        return typing.cast(T, _unpack(kind, data))
    except (TypeError, ValueError, KeyError) as error:
        raise NgError(f"not a {kind.__name__}: {error}") from error


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _unpack(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (option for option in typing.get_args(kind) if option is not type(None))
        return _unpack(inner, data)
    if origin is tuple:
        inner = typing.get_args(kind)
        if not isinstance(data, list):
            raise TypeError("a list was expected")
        if inner[-1] is Ellipsis:
            return tuple(_unpack(inner[0], item) for item in data)
        return tuple(_unpack(of, item) for of, item in zip(inner, data, strict=True))
    if is_dataclass(kind):
        hints = _hints(typing.cast(type, kind))
        if not isinstance(data, dict):
            raise TypeError("a dictionary of the fields was expected")
        absent = {
            name: None for name, hint in hints.items() if name not in data and type(None) in typing.get_args(hint)
        }
        return typing.cast(type, kind)(**absent, **{name: _unpack(hints[name], item) for name, item in data.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data) if issubclass(kind, str) else kind[data]
    if kind is bool:
        return bool(data)
    if kind is float:
        return float(data)
    if not isinstance(data, kind):
        raise TypeError(f"{kind.__name__} was expected")
    return data
