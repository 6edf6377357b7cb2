"""The pace of a search: larger steps where time is short, longer trainings where there is plenty."""

from __future__ import annotations

from typing import Any

import pytest

from mobilenets.deploy import prune_pace
from mobilenets.deploy.prune_pace import STEPS, Pace


class Clock:
    """A clock that training moves by a second a step."""

    def __init__(self) -> None:
        self.now, self.trained = 0.0, []  # type: ignore[var-annotated]

    def perf_counter(self) -> float:
        return self.now

    def train_(self, network: Any, steps: int) -> None:
        self.trained.append(steps)
        self.now += steps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(prune_pace, "time", made)
    return made


def rounds(pace: Pace, clock: Clock, look: float, saving: float = 10.0) -> tuple[int, float]:
    """Steps from 100 to the limit, each with `look` seconds of looking and a training; the time they took."""
    now, count = 100.0, 0
    while now > pace.limit:
        now -= pace(now, saving)
        clock.now += look
        pace.train_(None)  # type: ignore[arg-type]
        count += 1
    return count, clock.now


def test_without_a_time_it_is_as_the_settings_say(clock: Clock) -> None:
    assert rounds(Pace(clock, 50.0, None), clock, 5.0)[0] == 5  # type: ignore[arg-type]
    assert set(clock.trained) == {STEPS}


@pytest.mark.parametrize("minutes", [2, 5, 20])
def test_it_takes_about_its_time(clock: Clock, minutes: int) -> None:
    _, took = rounds(Pace(clock, 50.0, 60.0 * minutes), clock, 10.0)  # type: ignore[arg-type]
    assert 0.4 * 60 * minutes < took < 1.5 * 60 * minutes


def test_with_little_time_steps_are_larger_and_trainings_short(clock: Clock) -> None:
    count, _ = rounds(Pace(clock, 50.0, 60.0), clock, 20.0)  # type: ignore[arg-type]
    assert count < 5
    assert min(clock.trained) == 8


def test_with_much_time_trainings_are_long(clock: Clock) -> None:
    rounds(Pace(clock, 50.0, 36000.0), clock, 1.0)  # type: ignore[arg-type]
    assert max(clock.trained) == 500
