"""Which layers the error comes from: each rounded alone, and each left in float alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.fx import Node

from .simulation import Layer, Simulation
from .stepping import Stepper

_SILENT_DB = 120.0  # float32 itself rounds there


@dataclass(frozen=True)
class Sensitivity:
    """A layer with its weight and the activations up to the next: the logits when it alone rounds, or alone does not.

    `sqnr_only_db`: signal to quantisation noise of the logits, in dB, where only this layer rounds; `sqnr_without_db`
    where all others do. `top1_only` and `top1_without` are accuracies 0...1, None without labels.
    """

    layer: str
    macs: int
    sqnr_only_db: float
    sqnr_without_db: float
    top1_only: float | None
    top1_without: float | None


@torch.no_grad()
def sensitivities(
    simulation: Simulation,
    images: np.ndarray,
    labels: np.ndarray | None,
    on_layer: Callable[[int], None] = lambda done: None,
) -> list[Sensitivity]:
    """One row for each layer, in their order. `images` uint8 (n, R, R, 3), few; `labels` int64 (n,) places of logits.

    What comes before a layer is computed once; `on_layer` is told how many are done.
    """
    starts = {layer.node: layer for layer in simulation.layers.values()}
    batch = torch.from_numpy(np.ascontiguousarray(images))
    exact, rounded = _Run(simulation, batch), _Run(simulation, batch)
    wanted = simulation.logits(images, [])
    rows = []
    for place, node in enumerate(exact.nodes):
        if node.name in starts:
            layer = starts[node.name]
            with simulation.rounding(set(layer.points) - simulation.floats):
                only = exact.rest(place)
            with simulation.rounding(simulation.points.keys() - simulation.floats - set(layer.points)):
                without = rounded.rest(place)
            rows.append(_row(layer, wanted, only, without, labels))
            on_layer(len(rows))
        if node.op == "output":
            break
        with simulation.rounding([]):
            exact.step(node)
        with simulation.rounding():
            rounded.step(node)
    return rows


def sqnr_db(exact: np.ndarray, found: np.ndarray) -> float:
    """Signal to quantisation noise in dB: 10 log10 of the exact logits' energy over that of the error, -120...120.

    -120 where something is no number.
    """
    noise = float(((exact - found).astype(np.float64) ** 2).sum())
    signal = float((exact.astype(np.float64) ** 2).sum())
    if not np.isfinite(noise):
        return -_SILENT_DB
    return min(float(10 * np.log10(max(signal, 1e-30) / noise)), _SILENT_DB) if noise > 0 else _SILENT_DB


def divergence(exact: np.ndarray, found: np.ndarray) -> float:
    """Kullback-Leibler divergence of the answers to logits `found` (n, C) from those to `exact`, the mean in nats."""
    wanted, own = (torch.from_numpy(logits).double().log_softmax(1) for logits in (exact, found))
    return float((wanted.exp() * (wanted - own)).sum(1).mean())


class _Run(Stepper):
    """A stepper that can be followed to the end from where it is, and stays there."""

    def rest(self, place: int) -> np.ndarray:
        """The logits, going on from the layer `nodes[place]`, with the points as they are now."""
        branch = _Run.__new__(_Run)
        branch.__dict__ |= self.__dict__
        branch.values = dict(self.values)
        weight = self.nodes[place].args[1]
        assert isinstance(weight, Node)
        if weight.op == "call_module":  # it stands before the layer, and was computed in another mode
            (source,) = weight.all_input_nodes
            branch.values[weight] = self.simulation.point_at(weight.target)(self.simulation.value(source.target))
        return branch.logits(place).numpy()


def _row(
    layer: Layer, exact: np.ndarray, only: np.ndarray, without: np.ndarray, labels: np.ndarray | None
) -> Sensitivity:
    def top1(logits: np.ndarray) -> float | None:
        return None if labels is None else float((logits.argmax(1) == labels).mean())

    return Sensitivity(
        layer=layer.name,
        macs=layer.macs,
        sqnr_only_db=sqnr_db(exact, only),
        sqnr_without_db=sqnr_db(exact, without),
        top1_only=top1(only),
        top1_without=top1(without),
    )
