"""A Spec at one input size as a list of operations with absolute shapes: what cost, memory and drawings read.

Normalisation and activation count as part of the operation before them: every runtime fuses or runs them in place.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import UserError
from .spec import Block, Spec

OpKind = Literal["conv", "depthwise", "pointwise", "linear", "pool", "scale", "add", "attention", "norm"]


class Op(NamedTuple):
    """One operation. Shapes are (channels, height, width); `inputs` are names of tensors that must be alive."""

    name: str  # as in the network's state dict, e.g. `blocks.3.expand`
    kind: OpKind
    inputs: tuple[str, ...]
    shape: tuple[int, int, int]
    kernel: int = 1
    stride: int = 1
    macs: int = 0
    macs_attention: int = 0  # the two matrix products of attention, which `macs` leaves out
    params: int = 0
    buffers: int = 0  # BatchNorm's running statistics
    block: int = -1  # index of the block; -1 in the head


def padded_size(size: int, kernel: int, stride: int, dilation: int, padding: str, pad: tuple[int, int] | None) -> int:
    """Output length of a convolution along one axis. Raises UserError when nothing is left."""
    if padding == "same" and pad is None:
        return -(-size // stride)
    before, after = pad if pad is not None else ((kernel - 1) * dilation // 2,) * 2
    length = size + before + after - dilation * (kernel - 1)
    if length < 1:
        raise UserError(f"input of {size} pixels is too small for a {kernel}x{kernel} convolution")
    return (length - 1) // stride + 1


def graph(spec: Spec, height: int | None = None, width: int | None = None) -> list[Op]:
    """The operations of `spec` in the order they run, for a (height, width) input; by default its own resolution."""
    builder = _Builder(spec, height or spec.resolution, width or height or spec.resolution)
    for index, block in enumerate(spec.blocks):
        builder.block = index
        getattr(builder, block.kind)(block)
    builder.block = -1
    builder.head()
    return builder.ops


class _Builder:
    def __init__(self, spec: Spec, height: int, width: int) -> None:
        self.spec = spec
        self.ops: list[Op] = []
        self.tensor = "input"
        self.shape = (spec.in_channels, height, width)
        self.block = -1
        self.batch_norm = spec.norm.kind == "batch"

    # one operation -----------------------------------------------------------------------------------------------

    def _conv(self, block: Block, part: str, c_out: int, kernel: int = 1, *, depthwise: bool = False) -> None:
        strided = part == block.strided
        stride, dilation = (block.stride, block.dilation) if strided else (1, 1)
        if not strided and kernel > 1:
            dilation = block.dilation
        self._add_conv(
            part, c_out, kernel, stride, dilation, depthwise, block.pad if strided else None, part not in block.folded
        )

    def _add_conv(
        self,
        part: str,
        c_out: int,
        kernel: int,
        stride: int,
        dilation: int,
        depthwise: bool,
        pad: tuple[int, int, int, int] | None,
        norm: bool,
    ) -> None:
        c_in, height, width = self.shape
        if kernel > 1 or stride > 1:
            padding = self.spec.padding
            height = padded_size(height, kernel, stride, dilation, padding, pad[2:] if pad else None)
            width = padded_size(width, kernel, stride, dilation, padding, pad[:2] if pad else None)
        weights = c_out * kernel * kernel * (1 if depthwise else c_in)
        norm = norm and self.batch_norm
        kind: OpKind = "depthwise" if depthwise else "pointwise" if kernel == 1 else "conv"
        self._emit(
            part,
            kind,
            (self.tensor,),
            (c_out, height, width),
            kernel=kernel,
            stride=stride,
            macs=weights * height * width,
            params=weights + c_out * (2 if norm else 1),
            buffers=2 * c_out if norm else 0,
        )

    def _emit(
        self,
        part: str,
        kind: OpKind,
        inputs: tuple[str, ...],
        shape: tuple[int, int, int],
        *,
        kernel: int = 1,
        stride: int = 1,
        macs: int = 0,
        macs_attention: int = 0,
        params: int = 0,
        buffers: int = 0,
    ) -> str:
        prefix = f"blocks.{self.block}" if self.block >= 0 else "head"
        name = f"{prefix}.{part}"
        self.ops.append(
            Op(name, kind, inputs, shape, kernel, stride, macs, macs_attention, params, buffers, self.block)
        )
        self.tensor, self.shape = name, shape
        return name

    def _squeeze_excite(self, block: Block) -> None:
        scaled, shape = self.tensor, self.shape
        self._emit("se.pool", "pool", (self.tensor,), (shape[0], 1, 1))
        for part, c_out in (("se.reduce", block.c_se), ("se.expand", shape[0])):
            c_in = self.shape[0]
            self._emit(part, "pointwise", (self.tensor,), (c_out, 1, 1), macs=c_in * c_out, params=c_in * c_out + c_out)
        self._emit("se.scale", "scale", (scaled, self.tensor), shape)

    def _finish(self, block: Block, source: str) -> None:
        if block.layer_scale:
            self._emit("layer_scale", "scale", (self.tensor,), self.shape, params=block.c_out)
        if block.residual:
            self._emit("add", "add", (source, self.tensor), self.shape)

    # one block ---------------------------------------------------------------------------------------------------

    def conv(self, block: Block) -> None:
        source = self.tensor
        self._conv(block, "conv", block.c_out, block.k_mid)
        self._finish(block, source)

    def separable(self, block: Block) -> None:
        source = self.tensor
        self._conv(block, "depthwise", block.c_mid, block.k_mid, depthwise=True)
        if block.c_se:
            self._squeeze_excite(block)
        self._conv(block, "pointwise", block.c_out)
        self._finish(block, source)

    def inverted(self, block: Block) -> None:
        source = self.tensor
        self._conv(block, "expand", block.c_mid)
        self._conv(block, "depthwise", block.c_mid, block.k_mid, depthwise=True)
        if block.c_se:
            self._squeeze_excite(block)
        self._conv(block, "project", block.c_out)
        self._finish(block, source)

    def fused(self, block: Block) -> None:
        source = self.tensor
        self._conv(block, "expand", block.c_mid, block.k_mid)
        if block.c_se:
            self._squeeze_excite(block)
        self._conv(block, "project", block.c_out)
        self._finish(block, source)

    def universal(self, block: Block) -> None:
        source = self.tensor
        if block.k_start:
            self._conv(block, "depthwise_start", block.c_in, block.k_start, depthwise=True)
        self._conv(block, "expand", block.c_mid)
        if block.k_mid:
            self._conv(block, "depthwise_mid", block.c_mid, block.k_mid, depthwise=True)
        if block.c_se:
            self._squeeze_excite(block)
        self._conv(block, "project", block.c_out)
        self._finish(block, source)

    def attention(self, block: Block) -> None:
        source = self.tensor
        c_in, height, width = self.shape
        normed = self._emit("norm", "norm", (source,), self.shape, params=2 * c_in, buffers=2 * c_in)
        projected = []
        for part, c_out in (("query", block.c_mid), ("key", block.key_dim), ("value", block.key_dim)):
            self.tensor, self.shape = normed, (c_in, height, width)
            if block.k_kv and part != "query":
                self._add_conv(f"{part}_down", c_in, block.k_kv, block.kv_stride, 1, True, None, norm=True)
            _, rows, columns = self.shape
            projected.append(
                self._emit(
                    part,
                    "pointwise",
                    (self.tensor,),
                    (c_out, rows, columns),
                    macs=c_in * c_out * rows * columns,
                    params=c_in * c_out,
                )
            )
        keys = self.shape[1] * self.shape[2]
        query, key, value = projected
        products = block.c_mid * height * width * keys
        self._emit("scores", "attention", (query, key), (block.heads, height * width, keys), macs_attention=products)
        self._emit("mix", "attention", (self.tensor, value), (block.c_mid, height, width), macs_attention=products)
        self._emit(
            "output",
            "pointwise",
            (self.tensor,),
            (block.c_out, height, width),
            macs=block.c_mid * block.c_out * height * width,
            params=block.c_mid * block.c_out,
        )
        self._finish(block, source)

    def head(self) -> None:
        head = self.spec.head
        self._emit("pool", "pool", (self.tensor,), (head.c_in, 1, 1))
        if head.c_hidden:
            self._add_conv("hidden", head.c_hidden, 1, 1, 1, False, None, norm=head.hidden_norm)
        if head.classes:
            c_in, c_out = head.c_embedding, head.outputs
            self._emit(
                "classifier",
                "linear",
                (self.tensor,),
                (c_out, 1, 1),
                macs=c_in * c_out,
                params=c_in * c_out + c_out * head.bias,
            )
