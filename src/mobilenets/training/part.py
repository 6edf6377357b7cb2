"""An epoch that is not over: how far it is, and which random numbers come next."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..nn.noise import generators, set_generators_


class Part:
    """`steps` steps of an epoch, the sum of their `loss`, the last one's `lr`, and the `seconds` they took.

    `rng` draws erasing and mixing; torch's global generators draw dropout and stochastic depth.
    """

    def __init__(self, seed: int, epoch: int) -> None:
        self.steps, self.loss, self.lr, self.seconds = 0, 0.0, 0.0, 0.0
        self.rng = np.random.default_rng((seed, epoch, 1))
        self._seed: int | None = int(np.random.SeedSequence((seed, epoch, 2)).generate_state(1)[0])
        self._states: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Sets torch's generators to what the next step draws from."""
        if self._seed is not None:
            torch.manual_seed(self._seed)
            return
        set_generators_(self._states)

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain data from which `restored` makes it again, torch's generators as they are now."""
        plain = {"steps": self.steps, "loss": self.loss, "lr": self.lr, "seconds": self.seconds}
        return generators(), plain | {"rng": self.rng.bit_generator.state}

    @classmethod
    def restored(cls, states: dict[str, Tensor], plain: dict[str, Any]) -> Part:
        """What `saved` gave."""
        part = cls(0, 0)
        part.steps, part.loss, part.lr, part.seconds = (plain[name] for name in ("steps", "loss", "lr", "seconds"))
        part.rng.bit_generator.state = plain["rng"]
        part._seed, part._states = None, states
        return part
