"""Initial weights: the authors', and the one that trains best in torch."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..arch.spec import Initialisation
from .blocks import MobileMQA

# Standard deviation of a unit normal that is cut at two: dividing by it gives the wanted variance after the cut.
_CUT = 0.87962566103423978


def initialise_(module: nn.Module, how: Initialisation) -> None:
    """Sets the weights of every convolution and linear layer in place; biases are 0, BatchNorm stays the identity.

    `truncated_normal`: standard deviation 0.09, cut at two; every layer (slim's `mobilenet_v1_arg_scope` and
    `mobilenet.training_scope`: V1-V3).
    `variance_scaling`: what official/vision does for V4. Convolutions: truncated normal with variance 1 / fan-in,
    where Keras counts all channels of a depthwise kernel as its fan-in; inside attention Keras' default, Glorot
    uniform; the classifier uniform in ±0.05.
    `kaiming_fan_out`: normal with variance 2 / fan-out (He et al. 2015; torchvision, timm), the classifier 0.01.
    """
    in_attention = {
        id(layer) for block in module.modules() if isinstance(block, MobileMQA) for layer in block.modules()
    }
    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if how == "truncated_normal":
            _truncated_normal_(layer.weight, 0.09)
        elif how == "kaiming_fan_out":
            _kaiming_(layer)
        elif isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -0.05, 0.05)
        elif id(layer) in in_attention:
            limit = math.sqrt(6 / sum(_keras_fans(layer)))
            nn.init.uniform_(layer.weight, -limit, limit)
        else:
            _truncated_normal_(layer.weight, math.sqrt(1 / _keras_fans(layer)[0]) / _CUT)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _truncated_normal_(weight: Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def _kaiming_(layer: nn.Conv2d | nn.Linear) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        return
    fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1] // layer.groups
    nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))


def _keras_fans(layer: nn.Conv2d) -> tuple[int, int]:
    """Fan-in and fan-out as Keras counts them: a depthwise kernel is (k, k, channels, multiplier) there."""
    area = layer.kernel_size[0] * layer.kernel_size[1]
    if layer.groups > 1:
        return area * layer.in_channels, area * layer.out_channels // layer.in_channels
    return area * layer.in_channels, area * layer.out_channels
