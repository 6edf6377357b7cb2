"""Which Keras layers a Spec's network is made of: their classes, their names in keras.applications, their order."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ...arch.registry import create_spec
from ...arch.spec import Block, Spec
from ..recognise.match import parts

_STYLES = {1: ("mobilenet_v1",), 2: ("mobilenet_v2",), 3: ("mobilenet_v3_small", "mobilenet_v3_large")}


class Entry(NamedTuple):
    """A Keras layer with weights: its name, its class, the prefix of its tensors in our state dict, its bias."""

    name: str
    kind: str  # Conv2D, DepthwiseConv2D, BatchNormalization, Dense
    key: str
    bias: bool = False


def entries(spec: Spec) -> list[Entry]:
    """The layers with weights in the order in which they run. Attention blocks have none here."""
    style = style_of(spec)
    found: list[Entry] = []
    for index, block in enumerate(spec.blocks):
        found += _block(spec, style, index, block)
    return found + _head(spec, style)


def style_of(spec: Spec) -> int:
    """The generation whose layer names in keras.applications fit the blocks; 0 where none do."""
    kinds = tuple(block.kind for block in spec.blocks)
    return spec.generation if kinds in _kinds(spec.generation) else 0


@cache
def _kinds(generation: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(block.kind for block in create_spec(name).blocks) for name in _STYLES.get(generation, ()))


def _block(spec: Spec, style: int, index: int, block: Block) -> list[Entry]:
    found: list[Entry] = []
    last = index == len(spec.blocks) - 1
    names = [name for name, *_ in parts(block)]
    for part in names:
        if block.c_se and part == names[-1]:
            prefix = stem_of(style, index)
            found.append(Entry(f"{prefix}squeeze_excite_conv", "Conv2D", f"blocks.{index}.se.reduce", True))
            found.append(Entry(f"{prefix}squeeze_excite_conv_1", "Conv2D", f"blocks.{index}.se.expand", True))
        name, norm = conv_names(style, index, part, last)
        kind = "DepthwiseConv2D" if part.startswith("depthwise") else "Conv2D"
        normalised = spec.norm.kind == "batch" and part not in block.folded
        found.append(Entry(name, kind, f"blocks.{index}.{part}.conv", not normalised))
        if normalised:
            found.append(Entry(norm, "BatchNormalization", f"blocks.{index}.{part}.norm"))
    return found


def stem_of(style: int, index: int) -> str:
    """What the names of a block's layers begin with."""
    if style == 2:
        return "expanded_conv_" if index == 1 else f"block_{index - 1}_"
    if style == 3:
        return "expanded_conv_" if index == 1 else f"expanded_conv_{index - 1}_"
    return f"block_{index}_"


def conv_names(style: int, index: int, part: str, last: bool) -> tuple[str, str]:
    """The names of a convolution and of the BatchNorm after it."""
    if style == 1:
        name = "conv1" if index == 0 else f"conv_{'dw' if part == 'depthwise' else 'pw'}_{index}"
        return name, f"{name}_bn"
    if style in (2, 3) and index == 0:
        return ("Conv1", "bn_Conv1") if style == 2 else ("conv", "conv_bn")
    if style in (2, 3) and last:
        return ("Conv_1", "Conv_1_bn") if style == 2 else ("conv_1", "conv_1_bn")
    name = {"pointwise": "project"}.get(part, part) if style else part
    name = stem_of(style, index) + name
    return name, f"{name}_{'BN' if style == 2 else 'bn'}"


def _head(spec: Spec, style: int) -> list[Entry]:
    head, found = spec.head, []
    if head.c_hidden:
        normalised = head.hidden_norm and spec.norm.kind == "batch"
        found.append(Entry("conv_2", "Conv2D", "head.hidden.conv", not normalised))
        if normalised:
            found.append(Entry("conv_2_bn", "BatchNormalization", "head.hidden.norm"))
    if head.classes:
        name, kind = {1: ("conv_preds", "Conv2D"), 3: ("logits", "Conv2D")}.get(style, ("predictions", "Dense"))
        found.append(Entry(name, kind, "head.classifier", head.bias))
    return found
