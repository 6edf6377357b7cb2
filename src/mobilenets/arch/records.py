"""Frozen dataclasses from JSON data: every key, type and choice is checked, and the message names the place."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import UserError
from .check import check_choice

T = TypeVar("T")


def record_from_json(cls: type[T], data: Any, where: str) -> T:
    """The dataclass `cls` with the values of `data`, nested ones included; lists become tuples.

    `where` names the place in messages. Raises UserError on an unknown or missing key, a value of another type, a
    negative whole number, or a value that a `Literal` does not list.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where} {data!r} is not possible; allowed: an object with keys")
    types, required = _fields(cls)  # type: ignore[arg-type]
    for key in data:
        if key not in types:
            raise UserError(f"unknown key {key!r} in {where}; allowed: {', '.join(types)}")
    for key in required:
        if key not in data:
            raise UserError(f"{where} lacks the key {key!r}")
    return cls(**{key: _value(types[key], value, f"{where}.{key}") for key, value in data.items()})


@cache
def _fields(cls: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    types = get_type_hints(cls)
    required = tuple(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)
    return {f.name: types[f.name] for f in fields(cls)}, required


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return record_from_json(kind, value, where)  # type: ignore[arg-type]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        check_choice(where, value, parts)
        return value
    if origin is UnionType:  # only `X | None` occurs
        return None if value is None else _value(next(p for p in parts if p is not NoneType), value, where)
    if origin is tuple:
        return _tuple(parts, value, where)
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{where} {value!r} is not possible; allowed: a value of type {kind.__name__}")
    if kind is int and value < 0:
        raise UserError(f"{where} {value!r} is out of range: allowed is 0 or more")
    return float(value) if kind is float else value


def _tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} {value!r} is not possible; allowed: a list")
    if parts[-1] is Ellipsis:
        return tuple(_value(parts[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(parts):
        raise UserError(f"{where} {value!r} is not possible; allowed: a list of {len(parts)} values")
    return tuple(_value(part, item, f"{where}[{index}]") for index, (part, item) in enumerate(zip(parts, value)))
