"""The operations of a block as the small boxes inside its box: what each does, in a few characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..arch.graph import Op
from ..arch.spec import Block, Spec
from ..figures import SPACE, count


@dataclass(frozen=True, slots=True)
class Chip:
    """A small box. `slot` is its column (empty: it stands right after the one before), `style` its colour's name.

    `acts` are the activations that follow it, as a Spec names them.
    """

    text: str
    slot: str = ""
    style: str = ""
    acts: tuple[str, ...] = ()
    tooltip: str = ""


SLOTS = ("start", "expand", "spatial", "se", "project", "layer_scale")
_PART_SLOTS = {
    "depthwise_start": "start",
    "expand": "expand",
    "depthwise": "spatial",
    "depthwise_mid": "spatial",
    "project": "project",
    "pointwise": "project",
    "layer_scale": "layer_scale",
}
_GROUPS = {  # parts that are drawn as one chip
    "se.pool": "se",
    "se.reduce": "se",
    "se.expand": "se",
    "se.scale": "se",
    "key_down": "keys",
    "key": "keys",
    "value_down": "keys",
    "value": "keys",
    "scores": "attention",
    "mix": "attention",
}


def block_chips(spec: Spec, ops: Sequence[Op]) -> tuple[Chip, ...]:
    """The chips of one block, or of the head, from all its operations. The residual sum has none: it is an arc."""
    chips = []
    for part, members in groupby(ops, key=lambda op: _GROUPS.get(part_of(op), part_of(op))):
        if part != "add":
            chips.append(_chip(spec, part, list(members)))
    return tuple(chips)


def layer_chip(spec: Spec, op: Op) -> Chip:
    """The chip of one operation on a row of its own."""
    return Chip(_words(spec, op), acts=activation_after(spec, op), tooltip=describe(op))


def part_of(op: Op) -> str:
    """The operation's name without its block: `blocks.3.se.pool` is `se.pool`, `head.pool` is `pool`."""
    return op.name.split(".", 2 if op.block >= 0 else 1)[-1]


def words(op: Op, dilation: int = 1) -> str:
    """What an operation does and how many channels leave it; a depthwise layer keeps them, so they are left out.

    >>> words(Op("blocks.1.depthwise", "depthwise", ("x",), (64, 56, 56), kernel=3, stride=2))
    'dw 3×3 s2'
    """
    channels = op.shape[0]
    stride = f" s{op.stride}" if op.stride > 1 else ""
    if dilation > 1 and op.kernel > 1:
        stride += f" d{dilation}"
    if op.kind == "depthwise":
        return f"dw {op.kernel}×{op.kernel}{stride}"
    if op.kind in ("conv", "pointwise"):
        return f"{op.kernel}×{op.kernel}{stride}, {channels}"
    if op.kind == "linear":
        return f"linear {channels}"
    if op.kind == "attention":
        return "Q × K" if op.name.endswith("scores") else "× V"
    return {"pool": "avg pool", "norm": "norm", "add": "+", "scale": "×"}[op.kind]


def _words(spec: Spec, op: Op) -> str:
    """`words`, with the block's dilation, and with the channels of a depthwise layer that multiplies them (V1)."""
    block = spec.blocks[op.block] if op.block >= 0 else None
    if block is None or part_of(op).endswith("_down"):  # what shrinks keys and values is not dilated
        return words(op)
    multiplied = block.kind == "separable" and op.kind == "depthwise" and block.c_mid != block.c_in
    return words(op, block.dilation) + (f", {block.c_mid}" if multiplied else "")


def describe(op: Op) -> str:
    """One line with the operation's name, output, multiply-adds and parameters."""
    channels, height, width = op.shape
    parts = [f"{op.name}: {count(channels)} × {height} × {width}"]
    if op.macs + op.macs_attention:
        parts.append(f"{count(op.macs + op.macs_attention)}{SPACE}MACs")
    if op.params:
        parts.append(f"{count(op.params)}{SPACE}parameters")
    return ", ".join(parts)


def activation_after(spec: Spec, op: Op) -> tuple[str, ...]:
    """The activation that follows the operation in the network, if any."""
    part = part_of(op)
    act: str
    if op.block < 0:
        act = spec.head.act if part == "hidden" else "identity"
    elif part in ("se.reduce", "se.expand"):
        act = spec.se_act if part == "se.reduce" else spec.se_gate
    else:
        act = _in_block(spec.blocks[op.block], part)
    return () if act == "identity" else (act,)


def _in_block(block: Block, part: str) -> str:
    """By the rules of `nn/blocks.py`: the last convolution may be linear, a first depthwise layer of V4 is."""
    if block.kind == "attention":
        return "identity"
    last = {"conv": "conv", "separable": "pointwise"}.get(block.kind, "project")
    if part == last:
        return "identity" if block.linear else block.act
    return block.act if part in ("expand", "depthwise", "depthwise_mid") else "identity"


def _chip(spec: Spec, part: str, ops: list[Op]) -> Chip:
    first = ops[0]
    acts = tuple(act for op in ops for act in activation_after(spec, op))
    about = "\n".join(describe(op) for op in ops)
    block = spec.blocks[first.block] if first.block >= 0 else None
    if block is not None and block.kind == "attention":
        return Chip(_attention_words(block, part, first), "", "attention" if part == "attention" else "", (), about)
    if part == "se":
        return Chip(f"SE {ops[1].shape[0]}", "se", "se", acts, about)
    if part == "layer_scale":
        return Chip("γ", "layer_scale", "", (), about)
    slot = _PART_SLOTS.get(part, "") if block is not None else ""
    if first.kind in ("conv", "pointwise") and block is not None and block.kind in ("conv", "fused"):
        slot = "spatial" if first.kernel > 1 else "project"
    return Chip(_words(spec, first), slot, "", acts, about)


def _attention_words(block: Block, part: str, op: Op) -> str:
    if part == "query":
        return f"Q {block.heads}×{block.key_dim}"
    if part == "keys":
        return f"K, V {block.key_dim}" + (f" s{block.kv_stride}" if block.kv_stride > 1 else "")
    if part == "layer_scale":
        return "γ"
    return "attention" if part == "attention" else words(op)
