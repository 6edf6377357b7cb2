"""Learning rates over a training: closed forms, torch's own schedulers, and what surrounds the curve."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from mobilenets.training.recipe import Schedule
from mobilenets.training.schedule import learning_rate

EPOCHS = 30
NAMES = ("cosine", "constant", "step", "exponential", "one_cycle", "flat_cosine")


def theirs(make: Any, steps: int, lr: float = 0.5) -> list[float]:
    """What a scheduler of torch gives, a step at a time."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimiser)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Schedule(warmup=0), lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS)),
        (Schedule(warmup=0, final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS, eta_min=0.05)),
        (Schedule(name="step", warmup=0, every=7, factor=0.3), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
        (Schedule(name="exponential", warmup=0, every=1, factor=0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (Schedule(name="constant", warmup=0), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
)
def test_epoch_by_epoch_as_torch(schedule: Schedule, make: Any) -> None:
    ours = [learning_rate(0.5, schedule, epoch / EPOCHS, EPOCHS) for epoch in range(EPOCHS)]
    assert ours == pytest.approx(theirs(make, EPOCHS), rel=1e-6)


def test_one_cycle_as_torch() -> None:
    """Torch counts the steps from the first to the last one, we the parts of the training."""
    total, rise = 101, 31
    make = lambda o: lr_scheduler.OneCycleLR(  # noqa: E731
        o, 0.5, total, pct_start=(rise + 1) / total, div_factor=25, final_div_factor=1e3, cycle_momentum=False
    )
    schedule = Schedule(name="one_cycle", warmup=rise / (total - 1), start=1 / 25, final=1 / 25 / 1e3)
    ours = [learning_rate(0.5, schedule, step / (total - 1), EPOCHS) for step in range(total)]
    assert ours == pytest.approx(theirs(make, total, lr=0.02)[:total], rel=1e-5)


def test_flat_then_cosine() -> None:
    schedule = Schedule(name="flat_cosine", warmup=0.1, flat=0.6)
    rates = [learning_rate(2.0, schedule, p, EPOCHS) for p in (0.05, 0.1, 0.35, 0.6, 0.7, 0.8, 1.0)]
    quarter = 1 + math.cos(math.pi / 4)
    assert rates == pytest.approx([1.0, 2.0, 2.0, 2.0, quarter, 1.0, 0.0], abs=1e-12)


def test_a_step_falls_at_the_epoch_itself_whatever_the_rounding() -> None:
    schedule = Schedule(name="step", warmup=0, every=3, factor=0.5)
    for epochs in (7, 49, 90, 420):
        for epoch in range(epochs):
            assert learning_rate(1.0, schedule, epoch / epochs, epochs) == 0.5 ** (epoch // 3)


def test_a_warm_up_in_epochs_is_a_line_to_what_follows() -> None:
    schedule = Schedule(name="step", warmup_epochs=5, every=2, factor=0.9)
    after = learning_rate(1.0, schedule, 5 / 100, 100)
    assert after == pytest.approx(0.9**2)
    assert learning_rate(1.0, schedule, 2.5 / 100, 100) == pytest.approx(after / 2)


def test_where_the_clock_ends_it_the_whole_schedule_passes() -> None:
    schedule = Schedule(name="exponential", warmup=0, every=1, factor=0.9, epochs=20)
    assert learning_rate(1.0, schedule, 0.5, 100_000) == pytest.approx(0.9**10)


@given(st.sampled_from(NAMES), st.floats(0, 1), st.floats(0, 0.9), st.floats(0, 10))
def test_it_stays_between_nothing_and_the_peak(name: Any, progress: float, warmup: float, warmup_epochs: float) -> None:
    schedule = Schedule(name=name, warmup=warmup, warmup_epochs=warmup_epochs)
    assert -1e-15 <= learning_rate(0.3, schedule, progress, EPOCHS) <= 0.3 * (1 + 1e-12)
