"""Where int8 rounds: a module at each weight and activation that can watch, round, or let everything through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import ObserverBase

from .pairs import excess
from .ranges import Range, Seen, min_max

WATCH, ROUND, PASS = "watch", "round", "pass"
EPS = 2.0**-20  # the least scale: a tensor that was always zero still has one


class Point(ObserverBase):
    """One place of a graph. `mode`: PASS gives what comes; WATCH too, and keeps its statistics; ROUND rounds to int8.

    `scale` float32 and `zero_point` int32, (1,) or one for each of the channels along dimension 0, are set by
    `settle`. Activations are affine, -128...127; weights symmetric, -127...127.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, qscheme: torch.qscheme, **more: Any) -> None:
        super().__init__(dtype)
        self.quant_min, self.quant_max, self.qscheme = quant_min, quant_max, qscheme
        self.mode = PASS
        self.histogram = False
        self.seen = Seen()
        self.fixed: Tensor | None = None  # a scale that no statistics change: that of hard-sigmoid and sigmoid
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """x, rounded where `mode` says so."""
        if self.mode == WATCH:
            self.seen.add(x, histogram=self.histogram)
        return self.rounded(x) if self.mode == ROUND else x

    def rounded(self, x: Tensor) -> Tensor:
        """x on the grid; its gradient passes straight through inside the range."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.quant_min, self.quant_max)

    def settle(self, method: Callable[[Seen], Range] = min_max) -> None:
        """Scale and zero point from what was seen, by one of `ranges.METHODS`; nothing where nothing was seen."""
        if self.fixed is None and self.seen.low <= self.seen.high:
            self.cover(*method(self.seen))

    def cover(self, low: float, high: float) -> None:
        """Scale and zero point such that the grid reaches from low to high, and over zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / (self.quant_max - self.quant_min), EPS)
        zero = min(max(self.quant_min - round(low / scale), self.quant_min), self.quant_max)
        self.scale = torch.tensor([scale])
        self.zero_point = torch.tensor([zero], dtype=torch.int32)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """What torchao's conversion asks for."""
        return self.scale, self.zero_point


class PerChannelPoint(Point):
    """A weight's place: symmetric, one scale for each output channel. torchao knows it by its name."""

    def __init__(self, ch_axis: int = 0, **more: Any) -> None:
        super().__init__(**more)
        self.ch_axis = ch_axis

    def rounded(self, x: Tensor) -> Tensor:
        """x on the grid of each channel."""
        return torch.fake_quantize_per_channel_affine(
            x, self.scale, self.zero_point, self.ch_axis, self.quant_min, self.quant_max
        )

    def cover_weight(self, weight: Tensor) -> None:
        """Scales that take in the whole of each channel of `weight` (O, ...), so that no CPU overflows; see `pairs`."""
        scale = (weight.detach().flatten(1).abs().amax(1) / self.quant_max).clamp_min(EPS)
        self.scale = scale * excess(weight / scale.view(-1, *[1] * (weight.ndim - 1)))
        self.zero_point = torch.zeros(len(weight), dtype=torch.int32)


class PerTensorPoint(Point):
    """A weight's place: symmetric, one scale for all. What the papers warn of, here for comparison."""

    def cover_weight(self, weight: Tensor) -> None:
        """A scale that takes in the whole of `weight`."""
        self.scale = (weight.detach().abs().amax() / self.quant_max).clamp_min(EPS).view(1)
        self.zero_point = torch.zeros(1, dtype=torch.int32)


class UnitPoint(Point):
    """0 to 1 in `levels` steps, whatever was seen."""

    def __init__(self, levels: int = 255, **more: Any) -> None:
        super().__init__(**more)
        self.scale = torch.tensor([1 / levels])
        self.zero_point = torch.tensor([self.quant_min], dtype=torch.int32)
        self.fixed = self.scale
