"""Averaged weights: what a training scores and keeps in place of the weights of its last step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .recipe import Averaging

Decay = Callable[[int], float]  # of the old average, at step 1, 2, ...


def make_average(network: nn.Module, averaging: Averaging, steps: int) -> Average | None:
    """The average that the recipe asks for, of `steps` steps an epoch; None where it asks for none."""
    return None if averaging.rule == "none" else Average(network, decay_of(averaging, steps))


def decay_of(averaging: Averaging, steps: int) -> Decay:
    """The decay at each step for an epoch of `steps` steps; see `Averaging` for the rules."""
    top = 1 - 1 / max(averaging.epochs * steps, 2.0) if averaging.rule == "window" else averaging.decay

    def decay(step: int) -> float:
        t = step - averaging.start
        if t <= 0:
            return 0.0
        if averaging.rule in ("window", "ramp"):
            return min(top, (1 + t) / (10 + t))
        return min(top, 1 - (1 + t) ** (-2 / 3)) if averaging.rule == "power" else top

    return decay


class Average:
    """An exponential moving average of a network's weights and BatchNorm statistics."""

    def __init__(self, network: nn.Module, decay: Decay) -> None:
        self.decay = decay
        self.steps = 0
        self.values = {name: tensor.detach().clone() for name, tensor in _floats(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average one step towards the network."""
        self.steps += 1
        current = [tensor.detach() for _, tensor in _floats(network)]
        torch._foreach_lerp_(list(self.values.values()), current, 1 - self.decay(self.steps))


def _floats(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in network.state_dict(keep_vars=False).items():
        if tensor.is_floating_point():
            yield name, tensor
