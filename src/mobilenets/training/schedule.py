"""The learning rate at every point of a training, as a function of the part of it that is done."""

from __future__ import annotations

import math

from .recipe import Schedule

LEAST = 0.01  # a warm-up starts at this part of the peak, not at nothing


def learning_rate(peak: float, schedule: Schedule, progress: float, epochs: int) -> float:
    """The learning rate at `progress` (0...1) of a training of `epochs` passes over the images.

    With w the warm-up's part, q = (progress - w) / (1 - w) and e = progress * epochs, it is the peak times

        cosine        final + (1 - final) * (1 + cos(pi * q)) / 2          (Loshchilov & Hutter 2017, no restarts)
        constant      1
        step          factor ** floor(e / every)
        exponential   factor ** (e / every)
        flat_cosine   1 up to progress = flat, then the cosine over the rest
        one_cycle     start -> 1 over the warm-up, 1 -> final over the rest, both by cosines (Smith & Topin 2018)

    and `step` and `exponential` go no lower than final. The warm-up of all others is a straight line to what follows.
    """
    total = schedule.epochs or epochs
    warmup = min(schedule.warmup_epochs / total, 1.0) if schedule.warmup_epochs else schedule.warmup
    after = min((progress - warmup) / max(1 - warmup, 1e-9), 1.0)
    if progress < warmup:
        if schedule.name == "one_cycle":
            return peak * _between(schedule.start, 1.0, progress / warmup)
        return peak * _decayed(schedule, warmup * total) * max(progress / warmup, LEAST)
    if schedule.name in ("cosine", "one_cycle"):
        return peak * _between(1.0, schedule.final, after)
    if schedule.name == "flat_cosine":
        flat = max(schedule.flat, warmup)
        return peak * _between(1.0, schedule.final, min(max(progress - flat, 0) / max(1 - flat, 1e-9), 1.0))
    return peak * _decayed(schedule, progress * total)


def _between(begin: float, end: float, part: float) -> float:
    """From `begin` to `end` by half a cosine."""
    return end + (begin - end) * ((1 + math.cos(math.pi * part)) / 2)


def _decayed(schedule: Schedule, epoch: float) -> float:
    """The factor of `step` and `exponential` after that many epochs, 1 for the others."""
    if schedule.name not in ("step", "exponential"):
        return 1.0
    times = epoch / schedule.every
    # a whole number of epochs may come out of `progress` a rounding error short
    return max(schedule.factor ** (math.floor(times + 1e-9) if schedule.name == "step" else times), schedule.final)
