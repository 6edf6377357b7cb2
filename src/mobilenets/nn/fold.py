"""BatchNorm folded into the convolution before it: exact, because in evaluation mode both are linear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import ConvNormAct


def folded_norm(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """w' = w * g and b' = beta + (b - mean) * g, with g = gamma / sqrt(var + eps); both in float64.

    `weight` is (C_out, C_in / groups, k, k), `bias` (C_out,) or None for zeros.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    before = torch.zeros_like(gain) if bias is None else bias.double()
    return weight.double() * gain.view(-1, 1, 1, 1), norm.bias.double() + (before - norm.running_mean.double()) * gain


def fold_batch_norm_(network: nn.Module) -> nn.Module:
    """`network` itself, the BatchNorm after each convolution folded into it (in float64) as weight and bias.

    The BatchNorm in front of V4's attention has no convolution to fold into and stays.
    """
    for module in network.modules():
        if isinstance(module, ConvNormAct) and isinstance(module.norm, nn.BatchNorm2d):
            conv = module.conv
            weight, bias = folded_norm(conv.weight, conv.bias, module.norm)
            conv.weight, conv.bias = fixed(weight, conv.weight), fixed(bias, conv.weight)
            module.norm = nn.Identity()
    return network


def fixed(values: Tensor, like: Tensor) -> nn.Parameter:
    """`values` as a parameter of the type of `like` that does not train."""
    return nn.Parameter(values.detach().to(like.dtype).contiguous(), requires_grad=False)
