"""Processes measured in turns, as `mobilenets bench` does, for benchmarks that compare more than a Bundle's files."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mobilenets.console import say
from mobilenets.deploy.contestant import Contestant, started
from mobilenets.deploy.machine import machine
from mobilenets.errors import UserError


@dataclass(frozen=True)
class Arm:
    """What is measured: a command that speaks as mobilenets.deploy.worker does. `facts` go into the row."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def in_turns(arms: Sequence[Arm], threads: int, rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Milliseconds of every arm: its median in each round and over all, cold start, and what really ran.

    An arm that cannot start, a peer that is not installed for one, is left out with one line.
    """
    with contextlib.ExitStack() as stack:
        entries: list[tuple[Arm, Contestant]] = []
        for arm in arms:
            try:
                contestant = started(arm.name, arm.command, threads, dict(arm.environment))
                entries.append((arm, stack.enter_context(contestant)))
            except UserError as error:
                say(f"skipped: {error}")
        for number in range(rounds + 1):
            for _, contestant in entries if number % 2 else reversed(entries):
                contestant.run(seconds, counts=number > 0)
        found = {}
        for arm, contestant in entries:
            medians = [statistics.median(times) for times in contestant.rounds]
            found[arm.name] = {
                "ms": round(statistics.median(medians), 4),
                "round_ms": [round(ms, 4) for ms in medians],
                "cold_start_ms": round(contestant.start["load_ms"] + contestant.start["first_run_ms"], 2),
                **arm.facts,
            }
            if "mobilenets.deploy.worker" in arm.command:
                found[arm.name]["ran"] = contestant.ran()["ran"]
        return found


def ratios(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Lowest, median and highest over the rounds of slow / fast, each of the same round."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return min(each), statistics.median(each), max(each)


def where_and_when() -> dict[str, Any]:
    """The machine and the date of a row."""
    return {"machine": machine(), "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M")}
