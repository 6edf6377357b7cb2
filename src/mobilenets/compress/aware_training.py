"""Quantisation-aware training (QAT): an int8 network taught by its own float network, from the best repairs on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..console import progress
from ..data.loader import Loader
from ..nn.kernels.memory import kept_memory
from ..training.distill_losses import soft_loss
from ..training.optimise import set_rate_
from ..training.recipe import Schedule
from ..training.schedule import learning_rate
from .aware import AwareNetwork
from .simulation import Simulation

STATISTICS_IMAGES = 128  # on which BatchNorm's statistics begin


@dataclass(frozen=True, kw_only=True)
class Awareness:
    """How a quantised network is trained.

    `lr` is the peak, in steps of the weights' grid, of a cosine over `epochs`. BatchNorm's statistics follow the
    batches up to the part `frozen_after` (0...1) of the training: none of it was best on a V3-Small (docs/int8.md). It
    is scored `checks` times, and the best is kept.
    """

    epochs: int = 10
    lr: float = 0.05
    frozen_after: float = 0.0
    checks: int = 10


@dataclass(frozen=True)
class Course:
    """How a training went. `scores` are those at the checks; the first is that of the network before training."""

    steps: int
    scores: tuple[float, ...]
    seconds: float

    @property
    def helped(self) -> bool:
        """Whether a check found a better network than there was."""
        return max(self.scores) > self.scores[0]


def train_aware_(
    simulation: Simulation,
    teacher: nn.Module,
    loader: Loader,
    images: np.ndarray,
    score: Callable[[Simulation], float],
    settings: Awareness = Awareness(),
    until: float | None = None,
) -> Course:
    """Trains `simulation` in place on the loader's images (uint8, of its own resolution) and leaves it at its best.

    The loss is the divergence of its answers from those of `teacher` (uint8 (N, R, R, 3) -> logits), the float network,
    for the very same augmented picture; no labels are needed. `images` uint8 (n, R, R, 3) begin the statistics. `score`
    is asked on images that do not train, more is better. It ends early when `time.perf_counter()` passes `until`.
    """
    began = time.perf_counter()
    best, kept = score(simulation), _copied(simulation)
    scores = [best]
    network = AwareNetwork(simulation, images[:STATISTICS_IMAGES])
    optimiser = torch.optim.Adam(
        [group | {"scale": group["lr"]} for group in network.groups(1.0)], betas=(0.9, 0.99), foreach=True
    )
    total = settings.epochs * loader.steps
    every = max(1, total // settings.checks)
    step = 0
    with kept_memory(), progress() as bar:
        task = bar.add_task("int8 training", total=total, note="")
        while step < total and (until is None or time.perf_counter() < until):
            with closing(loader.epoch(step // loader.steps)) as batches:
                for batch in batches:
                    network.live = step < settings.frozen_after * total
                    set_rate_(optimiser, learning_rate(settings.lr, Schedule(), step / total, settings.epochs))
                    _step(network, teacher, batch.images, optimiser)
                    step += 1
                    bar.update(task, completed=step)
                    if step % every == 0 or step == total:
                        network.write_back_()
                        scores.append(score(simulation))
                        if scores[-1] > best:
                            best, kept = scores[-1], _copied(simulation)
                    if until is not None and time.perf_counter() > until:
                        break
    _restore_(simulation, kept)
    return Course(step, tuple(scores), round(time.perf_counter() - began, 1))


def _step(network: AwareNetwork, teacher: nn.Module, images: Tensor, optimiser: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        wanted = teacher(images)
    loss = soft_loss(network(images), wanted, 1.0)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    network.settle_()


def _copied(simulation: Simulation) -> dict[str, Tensor]:
    """All that training moves."""
    found = {f"{name}/scale": point.scale.clone() for name, point in simulation.points.items()}
    for layer in simulation.layers.values():
        found[layer.name] = simulation.weight(layer).clone()
        if (bias := simulation.bias(layer)) is not None:
            found[f"{layer.name}/bias"] = bias.clone()
    return found


def _restore_(simulation: Simulation, kept: dict[str, Tensor]) -> None:
    for name, point in simulation.points.items():
        point.scale = kept[f"{name}/scale"]
    for layer in simulation.layers.values():
        simulation.weight(layer).copy_(kept[layer.name])
        if (bias := simulation.bias(layer)) is not None:
            bias.copy_(kept[f"{layer.name}/bias"])
