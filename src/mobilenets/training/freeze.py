"""Which parts of a network train at which point of the training: frozen blocks, gradual unfreezing, BatchNorm."""

from __future__ import annotations

import math

from torch import nn

from ..arch.spec import Spec
from ..nn.network import Network
from .recipe import Tuning


def first_trained(spec: Spec, freeze: str) -> int:
    """Index of the first block that ever trains; the number of blocks where none does."""
    if freeze == "none":
        return 0
    if freeze == "all":
        return len(spec.blocks)
    return next(index for index, block in enumerate(spec.blocks) if block.tap == freeze) + 1


class Freezing:
    """Sets the training mode and `requires_grad` of a network's parts as `tuning` says.

    With `unfreeze` P the head trains alone at first; the blocks that may train thaw one by one from the top, evenly
    over the part P of the training, so that the lowest thaws at P.
    """

    def __init__(self, network: Network, tuning: Tuning) -> None:
        self.network, self.tuning = network, tuning
        self.lowest = first_trained(network.spec, tuning.freeze)

    @property
    def partial(self) -> bool:
        """Whether some blocks do not train, at some time or ever."""
        return self.lowest > 0 or self.tuning.unfreeze > 0

    def first(self, progress: float) -> int:
        """Index of the first block that trains at `progress` (0...1) of the training."""
        blocks = len(self.network.blocks)
        if not self.tuning.unfreeze:
            return self.lowest
        thawed = math.floor((blocks - self.lowest) * min(progress / self.tuning.unfreeze, 1.0) + 1e-9)
        return blocks - thawed

    def apply_(self, progress: float) -> int:
        """Sets modes and gradients for `progress`; returns the index of the first block that trains."""
        first = self.first(progress)
        self.network.train()
        for index, block in enumerate(self.network.blocks):
            trains = index >= first
            block.train(trains)
            block.requires_grad_(trains)
        if self.tuning.norm_stats != "train":
            for layer in self.network.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return first
