"""The optimiser of a recipe, its learning rate over time, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..nn.network import Network
from .freeze import first_trained
from .recipe import Optimiser, Schedule, Tuning


def make_optimiser(
    network: Network, settings: Optimiser, tuning: Tuning | None = None, beside: nn.Module | None = None
) -> Optimizer:
    """The optimiser; parameters of one dimension (BatchNorm, biases, layer scale) have no weight decay.

    With `tuning` blocks that never train are left out, and each group has `scale`: what the learning rate is
    multiplied by there, `layer_decay` to the power of the block's distance from the head, `head_lr` in the head.
    `beside` trains with the network and comes last.
    """
    groups = []
    more = [] if beside is None else [(1.0, list(beside.parameters()))]
    for scale, parameters in (*_scaled(network, tuning), *more):
        decayed, free = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups.append({"params": decayed, "weight_decay": settings.weight_decay, "scale": scale})
        groups.append({"params": free, "weight_decay": 0.0, "scale": scale})
    groups = [group for group in groups if group["params"]]
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, foreach=True)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True, foreach=True)


def _scaled(network: Network, tuning: Tuning | None) -> list[tuple[float, list[nn.Parameter]]]:
    """The parameters that ever train, gathered by the factor of their learning rate."""
    if tuning is None:
        return [(1.0, list(network.parameters()))]
    by_scale: dict[float, list[nn.Parameter]] = {}
    blocks = len(network.blocks)
    for index in range(first_trained(network.spec, tuning.freeze), blocks):
        scale = tuning.layer_decay ** (blocks - index)
        by_scale.setdefault(scale, []).extend(network.blocks[index].parameters())
    by_scale.setdefault(tuning.head_lr, []).extend(network.head.parameters())
    return list(by_scale.items())


def learning_rate(peak: float, schedule: Schedule, progress: float) -> float:
    """The learning rate at `progress` (0...1) of the training."""
    if progress < schedule.warmup:
        return peak * max(progress / schedule.warmup, 0.01)
    after = (progress - schedule.warmup) / max(1 - schedule.warmup, 1e-9)
    cosine = (1 + math.cos(math.pi * min(after, 1.0))) / 2
    return peak * (schedule.final + (1 - schedule.final) * cosine)


class Average:
    """An exponential moving average of a network's weights and BatchNorm statistics.

    The decay grows as (1 + steps) / (10 + steps) up to 1 - 1 / `window`, `window` in steps.
    """

    def __init__(self, network: nn.Module, window: float) -> None:
        self.decay = 1 - 1 / max(window, 2.0)
        self.steps = 0
        self.values = {name: tensor.detach().clone() for name, tensor in _floats(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average one step towards the network."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = [tensor.detach() for _, tensor in _floats(network)]
        torch._foreach_lerp_(list(self.values.values()), current, 1 - decay)


def _floats(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in network.state_dict(keep_vars=False).items():
        if tensor.is_floating_point():
            yield name, tensor
