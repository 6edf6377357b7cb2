"""timm's names of a network's tensors, made from the Spec's blocks.

Source: `EfficientNet` (V1, V2) and `MobileNetV3` (V3, V4) in timm/models/efficientnet.py and mobilenetv3.py, and the
blocks of timm/models/_efficientnet_blocks.py, timm 1.0.31. A timm network is a stem, stages of blocks, and a head; the
stages are the rows of the papers' tables that share a resolution (V1, V4) or an output width (V2, V3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby

from ...arch import v1, v2, v3, v4
from ...arch.spec import Block, Kind, Spec
from ...errors import UserError
from ..names import tensor_shapes

_DEPTH_PARTS = 12  # V2's rows are 2, 3 and 4 long: every length comes up among layer multipliers k / 12
_DEPTH_STEPS = 4 * _DEPTH_PARTS  # up to the largest layer multiplier of V2
V3_DEPTHS = (1.0, 1.2)  # 1.2: mobilenetv3_large_150d

# Module of ours -> (convolution, normalisation) of timm's, for each kind of block.
_PARTS: dict[str, dict[str, tuple[str, str]]] = {
    "conv": {"conv": ("conv", "bn1")},
    "separable": {"depthwise": ("conv_dw", "bn1"), "pointwise": ("conv_pw", "bn2")},
    "inverted": {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")},
    "fused": {"expand": ("conv_exp", "bn1"), "project": ("conv_pwl", "bn2")},
    "universal": {
        "depthwise_start": ("dw_start.conv", "dw_start.bn"),
        "expand": ("pw_exp.conv", "pw_exp.bn"),
        "depthwise_mid": ("dw_mid.conv", "dw_mid.bn"),
        "project": ("pw_proj.conv", "pw_proj.bn"),
    },
    "attention": {
        "key_down": ("attn.key.down_conv", "attn.key.norm"),
        "value_down": ("attn.value.down_conv", "attn.value.norm"),
    },
}
_PROJECTIONS = {part: f"attn.{part}.proj" for part in ("query", "key", "value", "output")}
_SQUEEZE_EXCITE = {"se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand"}


def timm_names(spec: Spec) -> dict[str, str]:
    """Our name of every tensor -> timm's. Raises UserError on a network whose layers timm does not have.

    >>> from mobilenets.arch.registry import create_spec
    >>> names = timm_names(create_spec("mobilenet_v2"))
    >>> names["blocks.2.expand.norm.bias"], names["blocks.18.conv.conv.weight"]
    ('blocks.1.0.bn1.bias', 'conv_head.weight')
    """
    if spec.norm.kind != "batch" or any(block.folded for block in spec.blocks):
        raise UserError(
            f"{spec.name}: its BatchNorm is folded into the convolutions; timm's networks keep theirs apart"
        )
    places = _places(spec)
    return {own: _translate(own, spec, places) for own in tensor_shapes(spec)}


def _places(spec: Spec) -> list[str]:
    """Where timm has each block: the stem's and the head's convolution by themselves, the others in stages."""
    sizes = stage_sizes(spec)
    inside = [f"blocks.{stage}.{place}" for stage, size in enumerate(sizes) for place in range(size)]
    return ["stem", *inside, *["head"] * (len(spec.blocks) - 1 - len(inside))]


def _translate(own: str, spec: Spec, places: list[str]) -> str:
    if own.startswith("head."):
        _, part, *rest = own.split(".")
        if part == "classifier":
            return f"classifier.{rest[-1]}"
        return f"{'norm_head' if rest[0] == 'norm' else 'conv_head'}.{rest[-1]}"
    _, index, *path = own.split(".")
    block, place, leaf = spec.blocks[int(index)], places[int(index)], path[-1]
    if place in ("stem", "head"):
        convolution, norm = ("conv_stem", "bn1") if place == "stem" else ("conv_head", "bn2")
        return f"{convolution if path[1] == 'conv' else norm}.{leaf}"
    return f"{place}.{_module(block, path[:-1])}.{leaf}"


def _module(block: Block, path: list[str]) -> str:
    """timm's name of a module inside a block."""
    if len(path) == 2 and path[0] in _PARTS[block.kind]:
        return _PARTS[block.kind][path[0]][path[1] == "norm"]
    name = ".".join(path)
    if block.kind == "attention":
        return _PROJECTIONS.get(name, name)
    return _SQUEEZE_EXCITE.get(name, name)


def stage_sizes(spec: Spec) -> tuple[int, ...]:
    """How many blocks each of timm's stages has. Raises UserError where timm has no such network.

    The papers' tables decide, not the channels: at small widths two rows round to the same number.
    """
    kinds = [block.kind for block in spec.blocks]
    for sizes, expected in _LAYOUTS[spec.generation]():
        if kinds == expected:
            return sizes
    raise UserError(
        f"{spec.name}: its {len(kinds)} blocks ({', '.join(dict.fromkeys(kinds))}) are no MobileNet V{spec.generation} "
        "of timm"
    )


Layout = tuple[tuple[int, ...], list[Kind]]  # the stages' sizes, and the kinds of all blocks from the stem on


def _v1_layouts() -> Iterator[Layout]:
    sizes = _run_lengths(row.c_out for row in v1.TABLE_1)
    body: list[Kind] = ["conv", *["separable"] * sum(sizes)]  # type: ignore[list-item]
    yield sizes, body
    yield sizes, [*body, "conv"]  # mobilenetv1_100h: a 1x1 convolution before pooling


def _v2_layouts() -> Iterator[Layout]:
    first, *inner, last = (row.n for row in v2.TABLE_2)
    for step in range(1, _DEPTH_STEPS + 1):
        sizes = (first, *(math.ceil(n * step / _DEPTH_PARTS) for n in inner), last)
        yield sizes, ["conv", *["separable"] * first, *["inverted"] * sum(sizes[1:]), "conv"]  # type: ignore[list-item]


def _v3_layouts() -> Iterator[Layout]:
    for rows in (v3.TABLE_1_LARGE, v3.TABLE_2_SMALL):
        runs = _run_lengths(row.out for row in rows)
        for depth in V3_DEPTHS:
            first, *inner, last = sizes = tuple(math.ceil(n * depth) for n in (*runs, 1))
            body = [*["separable"] * first, *["inverted"] * sum(inner)]
            yield sizes, ["conv", *body, *["conv"] * last]  # type: ignore[list-item]


def _v4_layouts() -> Iterator[Layout]:
    kinds: dict[type, Kind] = {v4.Conv: "conv", v4.Fused: "fused", v4.Universal: "universal", v4.Mqa: "attention"}
    for variant in v4.VARIANTS.values():
        _, *inner, _ = variant.rows
        starts = [index for index, row in enumerate(inner) if getattr(row, "stride", 1) == 2]
        sizes = tuple(end - start for start, end in zip(starts, [*starts[1:], len(inner)]))
        yield (*sizes, 1), [kinds[type(row)] for row in variant.rows]


_LAYOUTS = {1: _v1_layouts, 2: _v2_layouts, 3: _v3_layouts, 4: _v4_layouts}


def _run_lengths(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(len(list(run)) for _, run in groupby(values))
