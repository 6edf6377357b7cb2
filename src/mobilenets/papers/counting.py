"""Which network of ours a printed row means, and how its source counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

from ..arch.cost import Cost
from ..arch.cost import cost as cost_of
from ..arch.registry import create_spec
from ..arch.spec import Spec, with_blocks
from .entry import PERCENT, Column, Figure
from .lines import Line

Count = Callable[[Cost], int]

MILLION, BILLION = Decimal(10**6), Decimal(10**9)
MACS = Column("macs", "multiply-adds, M", MILLION)
PARAMS = Column("params", "parameters, M", MILLION)
IMAGENET = "an accuracy on ImageNet"
TOP1 = Column("top1", "top-1, %", PERCENT, stands=IMAGENET)
TOP5 = Column("top5", "top-5, %", PERCENT, stands=IMAGENET)
BACKBONE = (
    Column("backbone_macs", "backbone multiply-adds, M", MILLION),
    Column("backbone_params", "backbone parameters, M", MILLION),
)

OTHER = "another network"
DENSE = "the detector or segmenter as a whole is not here yet"


@dataclass(frozen=True, slots=True)
class Network:
    """A network of ours: `create_spec`'s name and settings, at a square resolution or a (height, width) size.

    `through` cuts it into a backbone: "pool" leaves out what follows the last map (hidden layer and classifier),
    "c5" also what follows the last tap; empty keeps it whole.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()
    size: tuple[int, int] | None = None
    through: str = ""

    def cost(self) -> Cost:
        """Its cost, computed once."""
        return _cost(self)


def network(name: str, resolution: int | None = None, **settings: Any) -> Network:
    """A network of ours at a square resolution (None: its own)."""
    return Network(name, tuple(sorted(settings.items())), (resolution, resolution) if resolution else None)


@cache
def _cost(wanted: Network) -> Cost:
    spec = create_spec(wanted.name, **dict(wanted.settings))
    return cost_of(backbone(spec, wanted.through) if wanted.through else spec, size=wanted.size)


def backbone(spec: Spec, through: str) -> Spec:
    """`spec` without hidden layer and classifier; with `through` "c5" its last block is the one of that tap."""
    blocks = spec.blocks
    if through != "pool":
        blocks = blocks[: next(i for i, block in enumerate(blocks) if block.tap == through) + 1]
    spec = with_blocks(spec, blocks)
    return replace(spec, head=replace(spec.head, classes=0, c_hidden=0))


# How the sources count -----------------------------------------------------------------------------------------------

PRODUCTS = ("conv", "depthwise", "pointwise", "linear", "attention")


def macs(whole: Cost) -> int:
    """Convolutions and linear layers: the papers' multiply-adds."""
    return whole.macs


def macs_with_attention(whole: Cost) -> int:
    """Attention's two matrix products as well: the V4 paper's."""
    return whole.macs + whole.macs_attention


def params(whole: Cost) -> int:
    """Weights, biases, BatchNorm's scale and shift."""
    return whole.params


def params_without_batch_norm(whole: Cost) -> int:
    """BatchNorm's scale and shift left out, as many as its statistics: slim's V2 page and the V4 paper."""
    return whole.params - whole.buffers


def params_with_statistics(whole: Cost) -> int:
    """Keras' `count_params`: BatchNorm's running mean and variance included."""
    return whole.params + whole.buffers


def macs_of_timm(whole: Cost) -> int:
    """fvcore's count in timm's benchmark: attention's products, and two operations per batch-normalised value."""
    return whole.macs + whole.macs_attention + 2 * sum(_size(op.shape) for op in whole.ops if op.buffers)


def activations_of_timm(whole: Cost) -> int:
    """fvcore's count: values that convolutions, linear layers and matrix products put out."""
    return sum(_size(op.shape) for op in whole.ops if op.kind in PRODUCTS)


def _size(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


# Figures of a line ---------------------------------------------------------------------------------------------------


def costs(
    line: Line, meant: Network | None, keys: Mapping[str, str], counts: Mapping[str, Count] | None = None
) -> dict[str, Figure]:
    """The cost figures of a line: `keys` names the CSV column of each of ours, `counts` how it is counted.

    A whole network is compared; of a backbone the cost stands in columns of its own; None leaves all as published.
    """
    how: dict[str, Count] = {"macs": macs, "params": params, **(counts or {})}
    whole = meant.cost() if meant else None
    compared = whole if meant and not meant.through else None
    found = {
        key: Figure(line[column], how[key](compared) if compared and line[column] else None)
        for key, column in keys.items()
    }
    if meant and meant.through and whole:
        found |= {"backbone_macs": Figure("", macs(whole)), "backbone_params": Figure("", params(whole))}
    return found


def as_printed(line: Line, keys: Mapping[str, str]) -> dict[str, Figure]:
    """Figures that stand as published."""
    return {key: Figure(line[column].strip()) for key, column in keys.items() if line[column].strip()}
