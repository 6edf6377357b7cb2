"""Random numbers of a network in training, drawn for a whole batch although the network sees a part of it at a time.

Where a batch is divided among processes, or passed in pieces, each image keeps the noise that it would have had: one
process that sees the whole batch, and several that see parts of it, drop the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class _Part:
    """Which images of a batch of `batch` the network sees: their places, int64 (n,)."""

    batch: int
    places: Tensor


_part: _Part | None = None


@contextmanager
def part_of_batch(batch: int, places: Tensor) -> Iterator[None]:
    """Inside the block the network sees the images at `places` (n,) of a batch of `batch`, in that order."""
    global _part
    before, _part = _part, _Part(batch, places)
    try:
        yield
    finally:
        _part = before


def generators() -> dict[str, Tensor]:
    """The states of torch's generators that a network in training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generators_(states: dict[str, Tensor]) -> None:
    """Puts back what `generators` gave."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def uniform(like: Tensor, *shape: int) -> Tensor:
    """(N, *shape) numbers within 0...1 for the N images of `like`, on its device."""
    if _part is None:
        return torch.rand(len(like), *shape, device=like.device)
    return torch.rand(_part.batch, *shape, device=like.device)[_part.places.to(like.device)]


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """x (N, D) with that part of its numbers set to 0 and the rest scaled so that the mean stays; x out of training."""
    if not training or not rate or _part is None:
        return F.dropout(x, rate, training)
    whole = F.dropout(torch.ones(_part.batch, *x.shape[1:], dtype=x.dtype, device=x.device), rate)
    return x * whole[_part.places.to(x.device)]
