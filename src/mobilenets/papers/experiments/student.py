"""Quantiles of Student's t, for differences between means of a few trainings."""

from __future__ import annotations

import math
from functools import cache

_NORMAL = 300  # from so many degrees of freedom on the quantile is the normal one's to three digits


@cache
def t_quantile(freedom: float) -> float:
    """t so that |T| <= t with probability 0.95 at that many degrees of freedom, rounded down (the wider side), 1 least.

    >>> [round(t_quantile(n), 3) for n in (1, 2, 4, 18, math.inf)]
    [12.706, 4.303, 2.776, 2.101, 1.96]
    """
    if freedom >= _NORMAL:
        return 1.959963984540054
    whole = max(int(freedom), 1)
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, whole) < 0.95 else (low, middle)
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """P(|T| <= t), exactly, at a whole number of degrees of freedom (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cos, sin = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term, total = (cos, cos) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cos * cos
        total += term
    if not odd:
        return sin * total
    return 2 / math.pi * (angle + (sin * total if freedom > 1 else 0.0))
