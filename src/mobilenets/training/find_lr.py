"""The learning-rate range test: where the loss falls, and where it breaks (Smith 2017, "Cyclical learning rates")."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic import write_json
from ..console import progress as progress_bar
from ..console import say
from ..data.loader import Batch, Loader
from ..errors import UserError
from .epochs import Training
from .find_lr_plot import draw
from .optimise import set_rate_
from .run import RANGE_TEST
from .steps import StepTraining

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 120
SMOOTHING = 0.9  # how much of the mean so far a step keeps
DIVERGED = 4.0  # times the least loss so far


@dataclass(frozen=True)
class Sweep:
    """A range test. `losses` is each step's, `smoothed` their running mean, in the unit of the recipe's loss.

    `lr` is what is suggested: a tenth of the rate at the least loss; None where the loss never fell. `steepest` is the
    rate at which the loss falls fastest for each factor of the rate. `diverged`: whether it ended by a loss that broke.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    lr: float | None
    steepest: float | None
    diverged: bool


def find_lr(training: Training, out: Path) -> dict[str, Any]:
    """Sweeps the learning rate and writes find_lr.json and find_lr.png into `out`; what else is there stays as it is.

    Returns what `train --find-lr --json` prints. `training` has not begun; its network and optimiser are used up.
    """
    recipe = training.recipe
    if recipe.tuning is not None and recipe.tuning.freeze == "all":
        raise UserError("find lr contradicts freeze all, which fits the classifier without steps: leave one out")
    assert isinstance(training, StepTraining)
    sweep = sweep_rates(training)
    document = {"batch_size": training.loader.batch_size, "optimiser": recipe.optimiser.name} | asdict(sweep)
    table, plot = (out / name for name in RANGE_TEST)
    files = {"json": str(table)}
    write_json(table, document)
    if draw(sweep.rates, sweep.losses, sweep.smoothed, sweep.lr, sweep.steepest, plot):
        files["plot"] = str(plot)
    if sweep.lr is None:
        say(f"the loss never fell between {sweep.rates[0]:.1e} and {sweep.rates[-1]:.1e}: no learning rate to suggest")
    else:
        say(f"learning rate {sweep.lr:.2g} for batches of {training.loader.batch_size} (--lr {sweep.lr:.2g})")
    return {"find_lr": document, "files": files}


def sweep_rates(training: StepTraining) -> Sweep:
    """Trains with a learning rate that rises evenly in its logarithm, until the loss breaks or the rates end."""
    loader, epoch = training.loader, training.epoch()
    epoch.network.train()
    torch.manual_seed(loader.seed)
    rng = np.random.default_rng((loader.seed, 0, 1))
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean, diverged = 0.0, False
    with progress_bar() as bar:
        task = bar.add_task("find lr", total=STEPS, note="")
        for batch, lr in zip(_batches(loader), np.geomspace(LOWEST, HIGHEST, STEPS).tolist()):
            set_rate_(epoch.optimiser, lr)
            value = epoch.gradients(batch, rng)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * value
            level = mean / (1 - SMOOTHING ** (len(rates) + 1))
            if not math.isfinite(value) or (smoothed and level > DIVERGED * min(smoothed)):
                diverged = True
                break
            rates.append(lr)
            losses.append(value)
            smoothed.append(level)
            epoch.step()
            bar.update(task, completed=len(rates), note=f"lr {lr:.1e}  loss {value:.3f}")
    return Sweep(rates, losses, smoothed, *suggest(rates, smoothed), diverged)


def suggest(rates: list[float], smoothed: list[float]) -> tuple[float | None, float | None]:
    """A tenth of the rate with the least loss, and the rate of the steepest fall to it; None where it never fell."""
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    if lowest < 2:
        return None, None
    slopes = np.gradient(np.array(smoothed[: lowest + 1]), np.log(rates[: lowest + 1]))
    return rates[lowest] / 10, rates[int(np.argmin(slopes))]


def _batches(loader: Loader) -> Iterator[Batch]:
    """As many batches as the test has steps, epoch after epoch."""
    return islice((batch for epoch in count() for batch in loader.epoch(epoch)), STEPS)
