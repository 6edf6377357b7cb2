"""Counts and sizes as people read them. A no-break space stands between a number and its unit."""

from __future__ import annotations

SPACE = "\N{NO-BREAK SPACE}"


def count(number: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,}"


def short(number: float, unit: str = "") -> str:
    """Three digits and a decimal prefix.

    >>> short(568740352), short(40), short(2_279_000, "B")
    ('569\\xa0M', '40', '2.28\\xa0MB')
    """
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * limit:
            return f"{_three(number / limit)}{SPACE}{prefix}{unit}"
    whole = count(round(number)) if number == int(number) else _three(number)
    return f"{whole}{SPACE}{unit}" if unit else whole


def _three(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"
