"""A quantised network as a torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..arch.spec import Spec

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Quantised(nn.Module):
    """A quantised network that takes what the float one takes. `spec` is the float network's.

    `network` holds int8 weights and, around each operator, `quantized_decomposed` quantize and dequantize nodes: torch
    computes what a runtime's integer kernels compute, in float. It can be exported again, with any batch size.
    `int8_macs` is the share of multiply-adds, 0...1, whose two factors are int8.
    """

    def __init__(self, network: GraphModule, spec: Spec, int8_macs: float) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.int8_macs = int8_macs
        self.training = False

    def train(self, mode: bool = True) -> Quantised:
        """Itself: what was calibrated has no training mode. Raises RuntimeError for one."""
        if mode:
            raise RuntimeError("a quantised network is not trained")
        return self

    def forward(self, image: Tensor) -> Tensor:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        return self.network(image)
