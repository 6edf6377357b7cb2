"""Whether a machine keeps its speed: the first quarter of a long run against the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PIECES = 24  # of a long run; between two of them the clock is read
SLOWER = 0.05  # a drift beyond this is called slowing down


def sustained(
    pieces: Sequence[Sequence[float]], clocks_mhz: Sequence[float | None], events: int | None
) -> dict[str, Any]:
    """The drift of a long run in pieces of equal time, and what it means.

    `pieces` are the milliseconds of each run in each piece, `clocks_mhz` the processors' clock after each, `events` how
    often they were throttled meanwhile; None where the machine does not tell.
    """
    quarter = max(1, len(pieces) // 4)
    first, last = (float(np.median(np.concatenate(part))) for part in (pieces[:quarter], pieces[-quarter:]))
    clocks = _mean(clocks_mhz[:quarter]), _mean(clocks_mhz[-quarter:])
    drift = last / first - 1
    return {
        "first_ms": first,
        "last_ms": last,
        "drift": drift,
        "clock_mhz": None if None in clocks else list(clocks),
        "throttle_events": events,
        "throttled": _throttled(drift, clocks, events),
        "verdict": _verdict(drift, clocks, events),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _throttled(drift: float, clocks: tuple[float | None, float | None], events: int | None) -> bool | None:
    """Whether heat slowed the machine down; None where it is slower and does not tell why."""
    if drift <= SLOWER:
        return False
    before, after = clocks
    fell = before is not None and after is not None and after < (1 - SLOWER) * before
    if events or fell:
        return True
    return None if events is None and before is None else False


def _verdict(drift: float, clocks: tuple[float | None, float | None], events: int | None) -> str:
    pace = f"{abs(drift):.1%} {'slower' if drift > 0 else 'faster'} at the end"
    throttled = _throttled(drift, clocks, events)
    if throttled:
        before, after = clocks
        signs = [f"throttled {events} times"] if events else []
        signs += [f"clock {before:.0f} to {after:.0f} MHz"] if before is not None and after is not None else []
        return f"{pace}: {', '.join(signs)}"
    if drift <= SLOWER:
        return f"steady, {pace}"
    if throttled is None:
        return f"{pace}: heat or other work, this machine tells neither its clock nor its throttling"
    return f"{pace}, the clock held: other work"
