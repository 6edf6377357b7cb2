"""Which files an export is to write, and which libraries it misses for them."""

from __future__ import annotations

from collections.abc import Sequence

from ..console import say
from ..errors import UserError
from ..extras import absent
from .gates import GATES
from .runtimes import AUTO, RUNTIMES, Runtime


def plan_files(
    runtimes: Sequence[Runtime], precisions: Sequence[str], beside: Sequence[str] = ()
) -> list[tuple[Runtime, str]]:
    """Which files to write, in order: of each runtime `precisions`, or its first, and those in `beside` that it has.

    Raises UserError for a precision that none of the runtimes has.
    """
    if not runtimes:
        raise UserError(f"no runtime to export to; allowed: {', '.join(RUNTIMES)}, {AUTO}")
    for precision in (*precisions, *beside):
        if precision not in GATES:
            raise UserError(f"unknown precision {precision!r}; allowed: {', '.join(GATES)}")
        without = [each for each in runtimes if precision not in each.precisions]
        if len(without) == len(runtimes):
            allowed = "; ".join(f"{each.name} has {', '.join(each.precisions)}" for each in runtimes)
            raise UserError(f"{precision} is a precision of none of the runtimes: {allowed}")
        if without:
            say(f"{precision}: not a precision of {', '.join(each.name for each in without)}")
    plan = []
    for each in runtimes:
        wanted = [name for name in precisions if name in each.precisions] or list(each.precisions[:1])
        wanted += [name for name in beside if name in each.precisions]
        plan += [(each, name) for name in dict.fromkeys(wanted)]
    return plan


def check_installed(plan: Sequence[tuple[Runtime, str]]) -> None:
    """Raises UserError, one line, with the commands that install what writing and running those files needs."""
    missing = [reason for each, _ in plan if (reason := missing_library(each))]
    if any(precision in each.calibrated for each, precision in plan):
        missing.append(absent("int8", "torchao") or "")
    lines = dict.fromkeys(filter(None, missing))
    if lines:
        raise UserError("; ".join(lines))


def missing_library(each: Runtime) -> str | None:
    """The library that writing or running that runtime's files misses, with its command; None where all is there."""
    run = () if each.elsewhere() else each.runs_with
    return absent(each.extra, *each.writes_with, *run)
