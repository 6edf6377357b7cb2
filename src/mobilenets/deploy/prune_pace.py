"""How fast a search goes: so that it ends within its time, with as much training as fits."""

from __future__ import annotations

import math
import time

from ..compress.finetune import Finetuner
from ..nn.network import Network

STEPS = 60  # of training after a step, where nobody says how long all may take
_LEAST, _MOST = 8, 500
_PART = 0.5  # of a step's time that goes to training, the rest to looking at proposals


class Pace:
    """What each step of a search is to save, and how long it is trained; `until` by `time.perf_counter`.

    Without a time it is what the settings say, and STEPS. With one, what is left to save is divided by the steps that
    are left to take: as many as the last one would fit into the time that is left.
    """

    def __init__(self, finetuner: Finetuner, limit: float, until: float | None) -> None:
        self.finetuner, self.limit, self.until = finetuner, limit, until
        self.steps = STEPS if until is None else _LEAST
        self.second_per_step: float | None = None
        self.began: float | None = None

    def __call__(self, now: float, saving: float) -> float:
        """What the next step is to save, `saving` or more; `now` is where the network is."""
        clock = time.perf_counter()
        if self.until is None:
            return saving
        left = max(self.until - clock, 0.0)
        wanted = saving
        if self.began is not None:
            took = max(clock - self.began, 1e-3)
            wanted = max(saving, (now - self.limit) / max(math.floor(left / took), 1))
        rounds = max(math.ceil((now - self.limit) / wanted), 1)
        if self.second_per_step is not None:
            steps = _PART * left / rounds / self.second_per_step
            self.steps = min(max(int(steps), _LEAST), _MOST)
        self.began = clock
        return wanted

    def train_(self, network: Network) -> None:
        """Trains a network in place."""
        began = time.perf_counter()
        self.finetuner.train_(network, self.steps)
        self.second_per_step = (time.perf_counter() - began) / self.steps
