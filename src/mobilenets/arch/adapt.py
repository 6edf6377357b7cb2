"""Functions from a Spec to another Spec: classes, resolution, input channels, strides, activation, normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from ..errors import UserError
from .spec import ACTIVATIONS, Activation, Block, Padding, Spec

SMALLEST_RESOLUTION = 32


def with_classes(spec: Spec, classes: int, *, background: bool = False) -> Spec:
    """`spec` with another number of labels; 0 leaves the classifier out."""
    if classes < 0:
        raise UserError(f"classes {classes} is out of range: allowed is 0 (no classifier) or more")
    return replace(spec, head=replace(spec.head, classes=classes, background=background))


def with_dropout(spec: Spec, dropout: float) -> Spec:
    """`spec` with another dropout rate before the classifier."""
    if not 0 <= dropout < 1:
        raise UserError(f"dropout {dropout:g} is out of range: allowed is 0 or more and below 1")
    return replace(spec, head=replace(spec.head, dropout=dropout))


def with_resolution(spec: Spec, resolution: int) -> Spec:
    """`spec` for another square input, in pixels."""
    if resolution < SMALLEST_RESOLUTION:
        raise UserError(f"resolution {resolution} is out of range: allowed is {SMALLEST_RESOLUTION} or more")
    return replace(spec, preprocessing=replace(spec.preprocessing, resolution=resolution))


def with_resolution_multiplier(spec: Spec, rho: float) -> Spec:
    """`spec` at round(224 * ρ) pixels (Howard et al. 2017, section 3.4).

    >>> from mobilenets.arch.v1 import mobilenet_v1
    >>> with_resolution_multiplier(mobilenet_v1(), 0.714).resolution
    160
    """
    if not 0 < rho <= 10:
        raise UserError(f"resolution multiplier {rho:g} is out of range: allowed is above 0 and at most 10")
    return with_resolution(spec, round(224 * rho))


def with_in_channels(spec: Spec, channels: int) -> Spec:
    """`spec` for images of 1, 3, 4 ... channels; mean and std of added channels are those of the first ones."""
    if channels < 1:
        raise UserError(f"input channels {channels} is out of range: allowed is 1 or more")
    pre = spec.preprocessing
    mean = tuple(pre.mean[i % len(pre.mean)] for i in range(channels))
    std = tuple(pre.std[i % len(pre.std)] for i in range(channels))
    first, *rest = spec.blocks
    return replace(
        spec,
        in_channels=channels,
        blocks=(replace(first, c_in=channels), *rest),
        preprocessing=replace(pre, mean=mean, std=std),
    )


def with_activation(spec: Spec, act: Activation) -> Spec:
    """`spec` with one activation everywhere an activation stands, the hidden layer included."""
    if act not in ACTIVATIONS:
        raise UserError(f"unknown activation {act!r}; allowed: {', '.join(ACTIVATIONS)}")
    blocks = tuple(b if b.kind == "attention" else replace(b, act=act) for b in spec.blocks)
    head = replace(spec.head, act=act) if spec.head.c_hidden else spec.head
    return replace(spec, blocks=blocks, head=head)


def with_padding(spec: Spec, padding: Padding) -> Spec:
    """`spec` with symmetric padding or TensorFlow's `same`."""
    if padding not in get_args(Padding):
        raise UserError(f"unknown padding {padding!r}; allowed: {', '.join(get_args(Padding))}")
    return replace(spec, padding=padding)


def with_norm(spec: Spec, *, eps: float | None = None, momentum: float | None = None) -> Spec:
    """`spec` with other BatchNorm constants; `momentum` is torch's (TensorFlow's decay is 1 - momentum)."""
    if eps is not None and eps <= 0:
        raise UserError(f"BatchNorm epsilon {eps:g} is out of range: allowed is above 0")
    if momentum is not None and not 0 < momentum <= 1:
        raise UserError(f"BatchNorm momentum {momentum:g} is out of range: allowed is above 0 and at most 1")
    return replace(
        spec,
        norm=replace(
            spec.norm,
            eps=spec.norm.eps if eps is None else eps,
            momentum=spec.norm.momentum if momentum is None else momentum,
        ),
    )


def with_output_stride(spec: Spec, output_stride: int) -> Spec:
    """`spec` whose last feature map has stride 8, 16 or 32: later strides become dilations (for dense tasks).

    The convolution that loses its stride keeps the dilation so far, those after it are dilated by the product of the
    strides removed (Chen et al. 2017, arXiv:1706.05587, and the DeepLab code).
    """
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride {output_stride} is not possible; allowed: 8, 16, 32")
    stride, rate = 1, 1
    blocks = []
    for block in spec.blocks:
        if stride * block.stride > output_stride:
            blocks.append(_dilated(replace(block, stride=1), rate))
            rate *= block.stride
        else:
            stride *= block.stride
            blocks.append(_dilated(block, rate))
    return replace(spec, blocks=tuple(blocks))


def with_total_stride(spec: Spec, total_stride: int) -> Spec:
    """`spec` whose strides multiply to `total_stride` (32 in the papers): the earliest strides become 1.

    For small pictures: at 32x32 pixels a total stride of 8 leaves a 4x4 map before pooling, without dilation.
    """
    strides = 1
    for block in spec.blocks:
        strides *= block.stride
    allowed = [strides >> n for n in range(strides.bit_length())]
    if total_stride not in allowed:
        raise UserError(
            f"total stride {total_stride} is not possible; allowed: {', '.join(map(str, allowed))} for {spec.name}"
        )
    blocks: list[Block] = []
    for block in spec.blocks:
        if strides > total_stride and block.stride > 1:
            strides //= block.stride
            block = replace(block, stride=1)
        blocks.append(block)
    return replace(spec, blocks=tuple(blocks))


def _dilated(block: Block, rate: int) -> Block:
    """`block` dilated by `rate` where it has a kernel to dilate; attention and 1x1 convolutions stay."""
    return replace(block, dilation=rate) if max(block.k_mid, block.k_start) > 1 else block
