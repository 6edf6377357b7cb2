"""Plain static quantisation to int8, by torchao's export path (PT2E)."""

from __future__ import annotations

import numpy as np
from torch import nn

from ..extras import require
from .quantised import Quantised
from .quiet import quiet


def quantise(module: nn.Module, images: np.ndarray) -> Quantised:
    """The int8 form of `module` (a `deploy.wrap.Shipped`), calibrated with `images`, uint8 RGB (n, R, R, 3), n >= 1.

    The same images give the same bytes. Raises UserError where torchao is missing.
    """
    with quiet():
        require("int8", "torchao.quantization.pt2e.quantize_pt2e")
        from .simulation import Simulation

    simulation = Simulation(module, images)
    simulation.watch(images)
    return simulation.converted()
