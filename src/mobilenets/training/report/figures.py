"""Numbers as people read them. A no-break space stands between a number and its unit."""

from __future__ import annotations

import math

from ...figures import SPACE, count
from ...figures import short as short

ABSENT = "–"


def percent(rate: float | None, digits: int = 1) -> str:
    """A fraction 0...1 in percent. What is not quite all or nothing never looks like it.

    >>> percent(0.5468), percent(0.99999), percent(0.005, 0), percent(None)
    ('54.7\\xa0%', '>99.9\\xa0%', '<1\\xa0%', '–')
    """
    if rate is None or not math.isfinite(rate):
        return ABSENT
    step = 10.0**-digits
    if 0 < rate * 100 <= step / 2:
        return f"<{step:.{digits}f}{SPACE}%"
    if 0 < (1 - rate) * 100 <= step / 2:
        return f">{100 - step:.{digits}f}{SPACE}%"
    return f"{100 * rate:.{digits}f}{SPACE}%"


def interval(low: float, high: float) -> str:
    """Two fractions as a range in percent.

    >>> interval(0.5016, 0.5913)
    '50.2–59.1\\xa0%'
    """
    return f"{100 * low:.1f}–{100 * high:.1f}{SPACE}%"


def plural(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun.

    >>> plural(1, "image"), plural(1200, "class", "classes")
    ('1\\xa0image', '1,200\\xa0classes')
    """
    return f"{count(number)}{SPACE}{one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A time in the two largest of its units.

    >>> duration(57.2), duration(252), duration(3900), duration(0.4)
    ('57\\xa0s', '4\\xa0min 12\\xa0s', '1\\xa0h 05\\xa0min', '0.4\\xa0s')
    """
    if seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60:02d}{SPACE}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{SPACE}h {minutes % 60:02d}{SPACE}min"


def plain(value: float) -> str:
    """A number of any size in at most four digits.

    >>> plain(0.0018218), plain(1.5e-6), plain(4.45286)
    ('0.001822', '1.5e-06', '4.453')
    """
    return f"{value:.4g}" if math.isfinite(value) else "not finite"
