"""Records of settings from plain data and from words: every value is typed and checked, near misses are named."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UserError
from ..suggest import near

T = TypeVar("T")
_WORDS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def from_plain(kind: type[T], data: Any, place: str = "") -> T:
    """The record of class `kind` that `to_json` gave as `data`; settings that are left out keep their defaults.

    `place` stands before names in messages. Raises UserError on an unknown name, a missing one, or a value that does
    not fit.
    """
    if not isinstance(data, dict):
        raise UserError(f"{place or 'the settings'}: expected a group of settings, got {data!r}")
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise UserError(f"unknown setting {_dotted(place, name)!r}{_near(name, known, place)}")
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"setting {_dotted(place, f.name)!r} is missing")
    return kind(**{name: _fitting(hints[name], value, _dotted(place, name)) for name, value in data.items()})


def flat(record: Any, place: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every setting of a record: its dotted name, its value, and what is allowed there, in words."""
    hints = get_type_hints(type(record))
    for f in fields(record):
        name, value = _dotted(place, f.name), getattr(record, f.name)
        if is_dataclass(value):
            yield from flat(value, name)
        else:
            yield name, value, _allowed(hints[f.name])


def read_setting(record: Any, name: str, word: str) -> Any:
    """The value that a word stands for as the setting of that dotted name. Raises UserError where the two do not fit.

    >>> from mobilenets.training.recipe import Recipe
    >>> read_setting(Recipe(name="mine"), "optimiser.betas", "0.9,0.95")
    (0.9, 0.95)
    """
    *groups, last = name.split(".")
    inner = record
    for depth, group in enumerate(groups):
        inner = getattr(inner, group, None) if group in _names(inner) else None
        if not is_dataclass(inner):
            place = ".".join(groups[: depth + 1])
            known = [setting for setting, _, _ in flat(record)]
            why = " is off here" if place in known else ""
            raise UserError(f"unknown setting {name!r}{f': {place}{why}' if why else _near(name, known, '')}")
    if last not in _names(inner):
        raise UserError(f"unknown setting {name!r}{_near(name, [setting for setting, _, _ in flat(record)], '')}")
    if is_dataclass(getattr(inner, last)):
        settings = ", ".join(f"{name}.{each}" for each in _names(getattr(inner, last)))
        raise UserError(f"{name} is a group of settings; set one of {settings}")
    return read_word(get_type_hints(type(inner))[last], word, name)


def _names(record: Any) -> list[str]:
    return [f.name for f in fields(record)]


def read_word(hint: Any, word: str, name: str) -> Any:
    """The value of type `hint` that a word stands for; numbers of a pair are separated by a comma."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        kinds = [kind for kind in inside if kind is not NoneType]
        return None if word == "none" and kinds[0] is not str else read_word(kinds[0], word, name)
    if origin is tuple:
        parts = word.split(",")
        return _fitting(hint, [read_word(inside[0], part.strip(), name) for part in parts], name)
    if hint is bool:
        return _fitting(hint, _WORDS.get(word.lower(), word), name)
    if hint in (int, float):
        try:
            return _fitting(hint, hint(word), name)
        except ValueError:
            raise UserError(f"{name}: expected {_allowed(hint)}, got {word!r}") from None
    return _fitting(hint, word, name)


def _fitting(hint: Any, value: Any, name: str) -> Any:
    """`value`, plain data, as the type `hint`."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None:
            return None
        return _fitting(next(kind for kind in inside if kind is not NoneType), value, name)
    if is_dataclass(hint):
        return from_plain(hint, value, name)  # type: ignore[arg-type]
    if origin is tuple:
        if isinstance(value, list | tuple) and len(value) == len(inside):
            return tuple(_fitting(kind, item, name) for kind, item in zip(inside, value))
    elif origin is Literal:
        if value in inside:
            return value
        raise UserError(f"unknown {name} {value!r}{near(str(value), inside) or '; allowed: ' + ', '.join(inside)}")
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint):
        return value
    raise UserError(f"{name}: expected {_allowed(hint)}, got {value!r}")


def _allowed(hint: Any) -> str:
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join("none" if kind is NoneType else _allowed(kind) for kind in inside)
    if origin is tuple:
        return f"{len(inside)} numbers with a comma between"
    if origin is Literal:
        return ", ".join(inside)
    words = {bool: "yes or no", int: "a whole number", float: "a number", str: "text"}
    return words.get(hint, "a group of settings")


def _dotted(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _near(name: str, known: Sequence[str], place: str) -> str:
    """What somebody may have meant: close words, or settings whose last part is the word's last part."""
    ends = [each for each in known if each.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    if ends:
        return f"; did you mean {' or '.join(_dotted(place, each) for each in ends[:3])}?"
    return near(name, known, f"{place}." if place else "") or f"; allowed: {', '.join(known)}"
