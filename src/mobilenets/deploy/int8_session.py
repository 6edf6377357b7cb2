"""The int8 network of a quantised Run, computed by torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..compress.simulation import Simulation
from ..compress.table import load_table, simulation_of
from ..nn.network import Network
from .wrap import Shipped


class Int8Session:
    """An int8 network as a session: what the runtimes' integers compute, in float."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        return self.simulation.logits(images)


def int8_simulation(table: Path, network: Network) -> Simulation:
    """The int8 network of that table, of a Run whose float network is `network`."""
    return simulation_of(load_table(table), Shipped(network))
