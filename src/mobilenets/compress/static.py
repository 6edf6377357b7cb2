"""Plain static quantisation to int8, by torchao's export path (PT2E)."""

from __future__ import annotations

import numpy as np
from torch import nn

from ..arch.spec import Spec


class Quantised(nn.Module):
    """A quantised network that takes what the float one takes. `spec` is the float network's."""

    spec: Spec


def quantise(module: nn.Module, images: np.ndarray) -> Quantised:
    """The int8 form of `module`, calibrated with `images`, uint8 RGB (n, R, R, 3)."""
    raise NotImplementedError
