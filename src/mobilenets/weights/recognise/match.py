"""Which architecture of the registry a network is: the same convolutions in the same order, whatever they are called.

A universal block without its first depthwise layer is an inverted residual, and a fused block is two convolutions: only
what is computed counts. Activations are left out, since published files change them (ReLU for ReLU6); channels,
kernels, strides, squeeze-and-excite and residuals are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ...arch.registry import ARCHITECTURES, create_spec
from ...arch.spec import Block, Head, Spec
from ...errors import UserError

WIDTHS = tuple(round(0.05 * step, 2) for step in range(2, 41))  # 0.10, 0.15 ... 2.00
Signature = tuple[tuple[int, ...], ...]

# Settings under which libraries publish weights: timm's deeper V2 (110d, 120d), its V3 below 0.75.
_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "mobilenet_v2": (
        {"layer_multiplier": 1.2, "fixed_stem_and_head": True},
        {"layer_multiplier": 1.4, "fixed_stem_and_head": True},
        {"fixed_stem_and_head": True},
    ),
    "mobilenet_v3_small": ({"fixed_stem": True},),
    "mobilenet_v3_large": ({"fixed_stem": True},),
}


def find_architecture(blocks: tuple[Block, ...], head: Head) -> Spec | None:
    """The registry's Spec (`authors` profile) with these convolutions and this hidden layer, or None.

    Only blocks are compared, and the head's hidden layer where `head` has one or a classifier.
    """
    wanted = signature(blocks)
    for spec, rows in _candidates():
        if rows == wanted and _same_head(spec.head, head):
            return spec
    return None


def find_backbone(blocks: tuple[Block, ...]) -> tuple[Spec, int] | None:
    """The registry's Spec that begins as these blocks do, and for how many blocks; None below half of it.

    Strides and dilations may differ: segmentation networks trade one for the other. Of two, the longer match.
    """
    wanted = [signature((block,), strides=False) for block in blocks]
    best: tuple[Spec, int] | None = None
    for spec, _ in _candidates():
        count = 0
        for mine, theirs in zip(wanted, spec.blocks):
            if mine != signature((theirs,), strides=False):
                break
            count += 1
        if 2 * count > len(spec.blocks) and (best is None or count > best[1]):
            best = spec, count
    return best


def _same_head(published: Head, found: Head) -> bool:
    """A feature extractor without its head is still the architecture."""
    return published.c_hidden == found.c_hidden or (not found.classes and not found.c_hidden)


@lru_cache(maxsize=1)
def _candidates() -> tuple[tuple[Spec, Signature], ...]:
    return tuple((spec, signature(spec.blocks)) for spec in _specs())


def _specs() -> Iterator[Spec]:
    """Every architecture at every width of the list, exact widths of 1 first."""
    for width in sorted(WIDTHS, key=lambda each: (each != 1.0, each)):
        for name in ARCHITECTURES:
            for variant in ({}, *_VARIANTS.get(name, ())):
                try:
                    yield create_spec(name, width=width, profile="authors", **variant)
                except UserError:  # a width this generation has no network for
                    continue


def signature(blocks: tuple[Block, ...], *, strides: bool = True) -> Signature:
    """The convolutions of the blocks, one row each, the picture's channels left out; attention has a row of its own."""
    rows: list[tuple[int, ...]] = []
    for block in blocks:
        begun = len(rows)
        for part in parts(block):
            kernel, c_in, c_out, groups = part[1:]
            c_in = c_in if rows else 0
            stride = block.stride if part[0] == block.strided and strides else 1
            rows.append((kernel, c_in, c_out, groups, stride, block.dilation if kernel > 1 and strides else 1))
        if block.kind == "attention":
            rows.append((block.heads, block.key_dim, block.k_kv, block.kv_stride, block.c_in, block.c_out))
        if block.c_se:
            rows.append((block.c_se,))
        if block.residual:
            rows.append((0, begun))
    return tuple(rows)


def parts(block: Block) -> list[tuple[str, int, int, int, int]]:
    """(part, kernel, channels in, channels out, groups) of each convolution of a block, in the order of execution."""
    c_in, c_mid, c_out, k = block.c_in, block.c_mid, block.c_out, block.k_mid
    if block.kind == "conv":
        return [("conv", k, c_in, c_out, 1)]
    if block.kind == "separable":
        return [("depthwise", k, c_in, c_mid, c_in), ("pointwise", 1, c_mid, c_out, 1)]
    if block.kind == "inverted":
        middle = ("depthwise", k, c_mid, c_mid, c_mid)
        return [("expand", 1, c_in, c_mid, 1), middle, ("project", 1, c_mid, c_out, 1)]
    if block.kind == "fused":
        return [("expand", k, c_in, c_mid, 1), ("project", 1, c_mid, c_out, 1)]
    if block.kind == "universal":
        start = [("depthwise_start", block.k_start, c_in, c_in, c_in)] if block.k_start else []
        middles = [("depthwise_mid", k, c_mid, c_mid, c_mid)] if k else []
        return [*start, ("expand", 1, c_in, c_mid, 1), *middles, ("project", 1, c_mid, c_out, 1)]
    return []
