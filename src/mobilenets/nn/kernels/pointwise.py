"""A 1x1 convolution as the matrix product that it is in channels_last memory."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The 1x1 convolution: (N, C_in, H, W) in channels_last memory, (C_out, C_in, 1, 1) -> (N, C_out, H, W), the same.

    Autocast casts as it does for a linear layer. One product forward and one per gradient, over (N * H * W) rows,
    without a convolution's choice of algorithm and reordering.
    """
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h * w, c)  # a view
    y = F.linear(rows, weight.flatten(1), bias)
    return y.view(n, h, w, -1).permute(0, 3, 1, 2)  # (N, C_out, H, W), channels_last
