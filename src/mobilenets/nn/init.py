"""Initial weights: the authors', and the one that trains best in torch."""

from __future__ import annotations

import math

from torch import nn

from ..arch.spec import Initialisation


def initialise_(module: nn.Module, how: Initialisation) -> None:
    """Sets the weights of every convolution and linear layer in place; biases are 0, BatchNorm is the identity.

    `truncated_normal`: standard deviation 0.09, cut at two (slim's mobilenet scopes, V1-V3).
    `variance_scaling`: truncated normal with variance 1 / fan-in, Keras' `VarianceScaling()` (V4).
    `kaiming_fan_out`: normal with variance 2 / fan-out (He et al. 2015; torchvision, timm), linear layers 0.01.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            _initialise_weights_(layer, how)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _initialise_weights_(layer: nn.Conv2d | nn.Linear, how: Initialisation) -> None:
    weight = layer.weight
    if how == "truncated_normal":
        nn.init.trunc_normal_(weight, std=0.09, a=-0.18, b=0.18)
    elif how == "variance_scaling":
        fan_in = weight[0].numel()
        # 0.8796: standard deviation of a unit normal cut at two, so that the variance is 1 / fan_in after the cut
        std = math.sqrt(1 / fan_in) / 0.87962566103423978
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(weight, std=0.01)
    else:
        fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1] // layer.groups
        nn.init.normal_(weight, std=math.sqrt(2 / fan_out))
