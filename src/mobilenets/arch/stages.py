"""The layers of a network gathered into stages: what reports, drawings and comparisons show in place of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from .cost import LayerCost


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive blocks with outputs of one size, or the head.

    `name` is like "2–5" or "head", `first` and `last` the indices of its blocks (-1: the head), `out` (channels,
    height, width) of its last layer. `alive_bytes` is the peak inside it, float32.
    """

    name: str
    out: tuple[int, int, int]
    macs: int
    params: int
    alive_bytes: int
    macs_attention: int = 0
    first: int = -1
    last: int = -1


def stages(layers: Sequence[LayerCost]) -> list[Stage]:
    """The layers gathered into blocks, and neighbouring blocks with outputs of one size into stages."""
    units = [(unit, list(members)) for unit, members in groupby(layers, key=lambda layer: _unit(layer.name))]
    found = []
    for _, run in groupby(units, key=lambda item: (item[0] == "head", item[1][-1].out[1:])):
        blocks = list(run)
        first, last = blocks[0][0], blocks[-1][0]
        found.append(_stage(first, last, [layer for _, members in blocks for layer in members]))
    return found


def _unit(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "blocks" else parts[0]


def _stage(first: str, last: str, layers: Sequence[LayerCost]) -> Stage:
    return Stage(
        name=first if first == last else f"{first}–{last}",
        out=layers[-1].out,
        macs=sum(layer.macs for layer in layers),
        params=sum(layer.params for layer in layers),
        alive_bytes=max(layer.alive_bytes for layer in layers),
        macs_attention=sum(layer.macs_attention for layer in layers),
        first=-1 if first == "head" else int(first),
        last=-1 if last == "head" else int(last),
    )
