"""Checks of what a user gives: each returns the value, or raises UserError naming the value and what is allowed."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

from ..errors import UserError


def check_count(what: str, value: Any, least: int, note: str = "") -> int:
    """`value` as an int of at least `least`; `note` says what the least stands for."""
    allowed = f"allowed is a whole number, {least} or more{note}"
    try:
        number = operator.index(value)
    except TypeError:
        raise UserError(f"{what} {value!r} is not possible: {allowed}") from None
    if number < least or isinstance(value, bool):
        raise UserError(f"{what} {value!r} is out of range: {allowed}")
    return number


def check_number(
    what: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """`value` as a finite float within the bounds: above < value, least <= value, value < below, value <= most."""
    bounds = [("above", above), ("at least", least), ("below", below), ("at most", most)]
    allowed = "allowed is " + " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise UserError(f"{what} {value!r} is not a number: {allowed}")
    number = float(value)
    inside = (
        (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if not inside:
        raise UserError(f"{what} {number:g} is out of range: {allowed}")
    return number


def check_choice(what: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises UserError unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if value not in allowed:
        found = f"unknown {what} {value!r}" if isinstance(value, str) else f"{what} {value!r} is not possible"
        raise UserError(f"{found}; allowed: {', '.join(map(str, allowed))}")
