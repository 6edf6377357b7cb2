"""Functions from a Spec to another Spec: classes, resolution, input channels, strides, activation, normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from ..errors import UserError
from .check import check_choice, check_count, check_number
from .spec import ACTIVATIONS, Activation, Block, Gate, Padding, Spec

SMALLEST_RESOLUTION = 16


def with_classes(spec: Spec, classes: int, *, background: bool = False) -> Spec:
    """`spec` with another number of labels; 0 leaves the classifier out."""
    classes = check_count("classes", classes, 0, " (0: no classifier)")
    if background and not classes:
        raise UserError("a background class needs a classifier: allowed with background are 1 or more classes, not 0")
    return replace(spec, head=replace(spec.head, classes=classes, background=background))


def with_dropout(spec: Spec, dropout: float) -> Spec:
    """`spec` with another dropout rate before the classifier."""
    dropout = check_number("dropout", dropout, least=0, below=1)
    return replace(spec, head=replace(spec.head, dropout=dropout))


def with_resolution(spec: Spec, resolution: int) -> Spec:
    """`spec` for another square input, in pixels."""
    resolution = check_count("resolution", resolution, SMALLEST_RESOLUTION, " pixels")
    return replace(spec, preprocessing=replace(spec.preprocessing, resolution=resolution))


def with_resolution_multiplier(spec: Spec, rho: float) -> Spec:
    """`spec` at round(224 * ρ) pixels (Howard et al. 2017, section 3.4).

    >>> from mobilenets.arch.v1 import mobilenet_v1
    >>> with_resolution_multiplier(mobilenet_v1(), 0.714).resolution
    160
    """
    rho = check_number("resolution multiplier", rho, above=0, most=10)
    return with_resolution(spec, round(224 * rho))


def with_in_channels(spec: Spec, channels: int) -> Spec:
    """`spec` for images of 1, 3, 4 ... channels; mean and std of added channels are those of the first ones."""
    channels = check_count("input channels", channels, 1)
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
    check_choice("activation", act, ACTIVATIONS)
    blocks = tuple(b if b.kind == "attention" else replace(b, act=act) for b in spec.blocks)
    head = replace(spec.head, act=act) if spec.head.c_hidden else spec.head
    return replace(spec, blocks=blocks, head=head)


def with_activation_swapped(spec: Spec, old: Activation, new: Activation) -> Spec:
    """`spec` with `new` wherever `old` stands, the hidden layer included.

    >>> from mobilenets.arch.registry import create_spec
    >>> made = with_activation_swapped(create_spec("mobilenet_v3_small"), "hard_swish", "relu6")
    >>> sorted({block.act for block in made.blocks})
    ['relu', 'relu6']
    """
    for act in (old, new):
        check_choice("activation", act, ACTIVATIONS)
    blocks = tuple(replace(block, act=new) if block.act == old else block for block in spec.blocks)
    head = replace(spec.head, act=new) if spec.head.act == old else spec.head
    return replace(spec, blocks=blocks, head=head)


def with_padding(spec: Spec, padding: Padding) -> Spec:
    """`spec` with symmetric padding or TensorFlow's `same`."""
    check_choice("padding", padding, get_args(Padding))
    return replace(spec, padding=padding)


def with_squeeze_excite(spec: Spec, *, gate: Gate | None = None, act: Activation | None = None) -> Spec:
    """`spec` with another gate (V3: hard sigmoid; many ports: sigmoid) or inner activation of squeeze-and-excite."""
    if gate is not None:
        check_choice("squeeze-and-excite gate", gate, get_args(Gate))
        spec = replace(spec, se_gate=gate)
    if act is not None:
        check_choice("squeeze-and-excite activation", act, ACTIVATIONS)
        spec = replace(spec, se_act=act)
    return spec


def with_norm(spec: Spec, *, eps: float | None = None, momentum: float | None = None) -> Spec:
    """`spec` with other BatchNorm constants; `momentum` is torch's (TensorFlow's decay is 1 - momentum)."""
    norm = spec.norm
    if eps is not None:
        norm = replace(norm, eps=check_number("BatchNorm epsilon", eps, above=0, below=1))
    if momentum is not None:
        norm = replace(norm, momentum=check_number("BatchNorm momentum", momentum, above=0, most=1))
    return replace(spec, norm=norm)


def with_reparam(spec: Spec, branches: int | bool = True) -> Spec:
    """`spec` whose normalised convolutions train as that many parallel ones, see `nn.reparam`; 0 or False: as one.

    True is one convolution beside the 1x1 and the identity branch (RepVGG; MobileOne from S1 on), 4 is MobileOne-S0.
    Raises UserError where BatchNorm is folded in.
    """
    branches = int(branches) if isinstance(branches, bool) else branches
    return replace(spec, reparam=check_count("reparam", branches, 0, " (0: the plain network)"))


def folded(spec: Spec) -> Spec:
    """`spec` without normalisation and branches: what its weights are once both are folded into the convolutions.

    Attention keeps the normalisation of its input: a padded convolution and residual follow it, nothing precedes it.
    """
    return replace(spec, norm=replace(spec.norm, kind="none"), reparam=0)


def with_output_stride(spec: Spec, output_stride: int) -> Spec:
    """`spec` whose last feature map has stride 8, 16 or 32: later strides become dilations (for dense tasks).

    The convolution that loses its stride keeps the dilation so far, those after it are dilated by the product of the
    strides removed (Chen et al. 2017, arXiv:1706.05587, and the DeepLab code).
    """
    check_choice("output_stride", output_stride, (8, 16, 32))
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
    check_choice(f"total stride of {spec.name}", total_stride, [strides >> n for n in range(strides.bit_length())])
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
