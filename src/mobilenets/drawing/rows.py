"""What a drawing has one row for: a stage, a block or a layer, with its figures, its chips and its shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, get_args

from ..arch.cost import Cost, LayerCost
from ..arch.graph import Op
from ..arch.spec import Block, Spec
from ..arch.stages import Stage, stages
from .chips import Chip, block_chips, describe, layer_chip
from .palette import KINDS

Detail = Literal["stages", "blocks", "layers"]
DETAILS: tuple[str, ...] = get_args(Detail)


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `out` is (channels, height, width); `alive_bytes` the most in memory while it runs, float32.

    `joined`: whether it follows the row before it. `sources`: places of other rows whose output it reads (-1: the
    input). `residual`: its own input is added to its output. `tap`: the name of the feature map it makes.
    Neighbours with the same `band` belong together: layers of a block, blocks with outputs of one size.
    """

    name: str
    label: str
    kind: str
    chips: tuple[Chip, ...]
    out: tuple[int, int, int]
    macs: int
    macs_attention: int
    params: int
    alive_bytes: int
    peak: bool = False
    joined: bool = True
    sources: tuple[int, ...] = ()
    residual: bool = False
    tap: str = ""
    band: tuple[int, ...] = ()
    tooltip: str = ""


def rows(spec: Spec, cost: Cost, detail: str) -> list[Row]:
    """The rows of a drawing in the order they run."""
    return {"stages": _stage_rows, "blocks": _block_rows, "layers": _layer_rows}[detail](spec, cost)


def block_kind(block: Block) -> str:
    """The kind that the palette names: universal blocks by which depthwise layers they have (V4, figure 4)."""
    if block.kind != "universal":
        return block.kind
    if block.k_start:
        return "extra_dw" if block.k_mid else "convnext"
    return "ib" if block.k_mid else "ffn"


def _layer_rows(spec: Spec, cost: Cost) -> list[Row]:
    places = {"input": -1} | {op.name: place for place, op in enumerate(cost.ops)}
    found = []
    for place, (op, layer) in enumerate(zip(cost.ops, cost.layers)):
        read = [places[name] for name in op.inputs]
        row = _row(op.name, KINDS[op.kind][0], op.kind, (layer_chip(spec, op),), [layer], cost)
        sources = tuple(source for source in dict.fromkeys(read) if source != place - 1)
        tap = spec.blocks[op.block].tap if op.block >= 0 and _ends_block(cost.ops, place) else ""
        found.append(
            replace(row, joined=place - 1 in read, sources=sources, tap=tap, band=(op.block,), tooltip=describe(op))
        )
    return found


def _ends_block(ops: Sequence[Op], place: int) -> bool:
    return place + 1 == len(ops) or ops[place + 1].block != ops[place].block


def _block_rows(spec: Spec, cost: Cost) -> list[Row]:
    found = []
    for index, members in groupby(zip(cost.ops, cost.layers), key=lambda pair: pair[0].block):
        ops, layers = zip(*members)
        chips = block_chips(spec, ops)
        if index < 0:
            found.append(_row("", KINDS["head"][0], "head", chips, layers, cost))
            continue
        block = spec.blocks[index]
        kind = block_kind(block)
        row = _row(str(index), KINDS[kind][0], kind, chips, layers, cost)
        found.append(replace(row, residual=block.residual, tap=block.tap, band=row.out[1:]))
    return [replace(row, tooltip=_tooltip(row)) for row in found]


def _stage_rows(spec: Spec, cost: Cost) -> list[Row]:
    found = []
    for stage in stages(cost.layers):
        peak = any(layer.name == cost.peak_layer for layer in cost.layers if _inside(stage, layer.name))
        figures = (stage.out, stage.macs, stage.macs_attention, stage.params, stage.alive_bytes, peak)
        if stage.first < 0:
            chips = block_chips(spec, [op for op in cost.ops if op.block < 0])
            found.append(Row("", KINDS["head"][0], "head", chips, *figures))
            continue
        blocks = spec.blocks[stage.first : stage.last + 1]
        taps = [block.tap for block in blocks if block.tap]
        label = f"{len(blocks)} block{'s' if len(blocks) > 1 else ''}"
        found.append(Row(stage.name, label, "stage", _gathered(blocks), *figures, tap=taps[-1] if taps else ""))
    return [replace(row, tooltip=_tooltip(row)) for row in found]


def _inside(stage: Stage, name: str) -> bool:
    parts = name.split(".")
    index = int(parts[1]) if parts[0] == "blocks" else -1
    return stage.first <= index <= stage.last


def _gathered(blocks: Sequence[Block]) -> tuple[Chip, ...]:
    """One chip for all blocks of a stage that are alike but for their input and stride, in order of the first."""
    counts: dict[tuple[str, str], int] = {}
    for block in blocks:
        counts[_kernels(block), block_kind(block)] = counts.get((_kernels(block), block_kind(block)), 0) + 1
    return tuple(
        Chip(f"{count}× {KINDS[kind][0]} {about}" if count > 1 else f"{KINDS[kind][0]} {about}", style=kind)
        for (about, kind), count in counts.items()
    )


def _kernels(block: Block) -> str:
    if block.kind == "attention":
        return f"{block.heads}×{block.key_dim}, {block.c_out}"
    sides = "+".join(f"{kernel}×{kernel}" for kernel in (block.k_start, block.k_mid) if kernel)
    squeeze = " SE" if block.c_se else ""
    return f"{sides}{squeeze}, {block.c_out}".lstrip(", ")


def _row(name: str, label: str, kind: str, chips: tuple[Chip, ...], layers: Sequence[LayerCost], cost: Cost) -> Row:
    return Row(
        name,
        label,
        kind,
        chips,
        layers[-1].out,
        sum(layer.macs for layer in layers),
        sum(layer.macs_attention for layer in layers),
        sum(layer.params for layer in layers),
        max(layer.alive_bytes for layer in layers),
        any(layer.name == cost.peak_layer for layer in layers),
    )


def _tooltip(row: Row) -> str:
    attention = f" + {row.macs_attention:,} in attention" if row.macs_attention else ""
    title = " ".join(part for part in ("block" if row.name else "", row.name, row.label) if part)
    return (
        f"{title}\n{row.macs:,} MACs{attention}\n{row.params:,} parameters\n"
        f"{row.alive_bytes:,} bytes of activations alive, float32"
    )
