"""Weights that overflow on no CPU: x86 without VNNI adds two products of uint8 and int8 in 16 bits, which saturates.

A runtime adds up neighbouring input channels so. Where two neighbours' weights are small enough, the answers are the
same on every CPU, and int8 weights, which x86 multiplies fastest, can be shipped. Bounding them costs a channel up to
half of its grid, and next to nothing in the answers as long as it comes before the repairs (docs/bundle.md, int8).
"""

from __future__ import annotations

from torch import Tensor

LIMIT = (2**15 - 1) // 255 - 2  # of the sum of two neighbours; two less, for rounding moves each by less than one


def excess(steps: Tensor) -> Tensor:
    """By how much the weights (O, I, ...) of each channel are too large, in units of their grid: (O,), 1 or more.

    Neighbours are input channels 0 and 1, 2 and 3 ...; in a full convolution of more than one pixel, in whose weights a
    runtime is free to choose an order, any two. A depthwise convolution has none.
    """
    flat = steps.detach().flatten(2) if steps.ndim > 2 else steps.detach().unsqueeze(2)
    if flat.shape[1] > 1 and flat.shape[2] > 1:
        return (2 * flat.abs().amax((1, 2)) / LIMIT).clamp_min(1.0)
    if flat.shape[1] == 1:
        return flat.new_ones(len(flat))
    one, other = flat[:, 0::2], flat[:, 1::2]
    one = one[:, : other.shape[1]]
    up = one.clamp_min(0) + other.clamp_min(0)
    down = (-one).clamp_min(0) + (-other).clamp_min(0)
    return (up.maximum(down).amax((1, 2)) / LIMIT).clamp_min(1.0)
