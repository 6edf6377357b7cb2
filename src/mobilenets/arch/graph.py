"""A Spec at one input size as a list of operations with absolute shapes: what cost, memory and drawings read.

Normalisation and activation count as part of the operation before them: every runtime fuses or runs them in place.
The branches of `Spec.reparam` count as the one convolution, with its normalisation, that they fold into.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import UserError
from .spec import Block, Spec

OpKind = Literal["conv", "depthwise", "pointwise", "linear", "pool", "scale", "add", "attention", "norm"]
Pad = tuple[int, int, int, int]


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
    biases: int = 0  # biases once BatchNorm is folded into its convolution

    @property
    def weights(self) -> int:
        """Parameters that are no bias, once BatchNorm is folded into its convolution."""
        return self.params - self.biases - (self.buffers // 2 if self.biases else 0)


def padded_size(size: int, kernel: int, stride: int, dilation: int, padding: str, pad: tuple[int, int] | None) -> int:
    """Output length of a convolution along one axis. Raises UserError when nothing is left."""
    if pad is None:
        if padding == "same":
            return -(-size // stride)
        length = size + (kernel - 1) * dilation // 2 * 2 - dilation * (kernel - 1)
    else:
        length = size + pad[0] + pad[1] - dilation * (kernel - 1)
    if length < 1:
        raise UserError(f"input of {size} pixels is too small for a {kernel}x{kernel} convolution")
    return (length - 1) // stride + 1


def graph(spec: Spec, height: int | None = None, width: int | None = None) -> list[Op]:
    """The operations of `spec` in the order they run, for a (height, width) input; by default its own resolution."""
    height = height or spec.resolution
    builder = _Builder(spec, height, width or height)
    for index, block in enumerate(spec.blocks):
        builder.begin(index, block)
        getattr(builder, block.kind)(block)
    builder.head()
    return builder.ops


class _Builder:
    """Appends operations; `tensor` and `shape` are the name and size of what the last one made."""

    def __init__(self, spec: Spec, height: int, width: int) -> None:
        self.spec = spec
        self.ops: list[Op] = []
        self.tensor = "input"
        self.shape = (spec.in_channels, height, width)
        self.batch_norm = spec.norm.kind == "batch"
        self.padding = spec.padding

    def begin(self, index: int, block: Block) -> None:
        self.index = index
        self.prefix = f"blocks.{index}."
        self.strided = block.strided

    # one operation -----------------------------------------------------------------------------------------------

    def _emit(self, op: Op) -> str:
        self.ops.append(op)
        self.tensor, self.shape = op.name, op.shape
        return op.name

    def _conv(self, block: Block, part: str, c_out: int, kernel: int = 1, depthwise: bool = False) -> None:
        """The convolution `part` of a block, with BatchNorm or a bias."""
        stride, pad = (block.stride, block.pad) if part == self.strided else (1, None)
        norm = self.batch_norm and part not in block.folded
        self._add_conv(part, c_out, kernel, stride, block.dilation, depthwise, pad, norm)

    def _add_conv(
        self,
        part: str,
        c_out: int,
        kernel: int,
        stride: int,
        dilation: int,
        depthwise: bool,
        pad: Pad | None,
        norm: bool,
    ) -> None:
        c_in, height, width = self.shape
        if kernel > 1 or stride > 1:
            height = padded_size(height, kernel, stride, dilation, self.padding, pad[2:] if pad else None)
            width = padded_size(width, kernel, stride, dilation, self.padding, pad[:2] if pad else None)
        weights = c_out * kernel * kernel * (1 if depthwise else c_in)
        params, buffers = (weights + 2 * c_out, 2 * c_out) if norm else (weights + c_out, 0)
        kind: OpKind = "depthwise" if depthwise else "pointwise" if kernel == 1 else "conv"
        name, shape, macs = self.prefix + part, (c_out, height, width), weights * height * width
        self.ops.append(
            Op(name, kind, (self.tensor,), shape, kernel, stride, macs, 0, params, buffers, self.index, c_out)
        )
        self.tensor, self.shape = name, shape

    def _squeeze_excite(self, block: Block) -> None:
        scaled, shape, prefix = self.tensor, self.shape, self.prefix
        channels, squeezed = shape[0], block.c_se
        weights = channels * squeezed
        pooled = self._emit(Op(f"{prefix}se.pool", "pool", (scaled,), (channels, 1, 1), block=self.index))
        for part, c_out in (("se.reduce", squeezed), ("se.expand", channels)):
            pooled = self._emit(
                Op(
                    prefix + part,
                    "pointwise",
                    (pooled,),
                    (c_out, 1, 1),
                    macs=weights,
                    params=weights + c_out,
                    block=self.index,
                    biases=c_out,
                )
            )
        self._emit(Op(f"{prefix}se.scale", "scale", (scaled, pooled), shape, block=self.index))

    def _finish(self, block: Block, source: str) -> None:
        """Layer scale and the residual sum, where the block has them."""
        if block.layer_scale:
            name = self.prefix + "layer_scale"
            self._emit(Op(name, "scale", (self.tensor,), self.shape, params=block.c_out, block=self.index))
        if block.residual:
            self._emit(Op(self.prefix + "add", "add", (source, self.tensor), self.shape, block=self.index))

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
        source, index = self.tensor, self.index
        c_in, height, width = shape = self.shape
        name = self.prefix + "norm"
        normed = self._emit(Op(name, "norm", (source,), shape, params=2 * c_in, buffers=2 * c_in, block=index))
        query = self._project("query", block.c_mid)
        key = self._key_or_value(block, "key", normed, shape)
        value = self._key_or_value(block, "value", normed, shape)
        positions, keys = height * width, self.shape[1] * self.shape[2]
        macs = block.c_mid * positions * keys
        for part, inputs, made in (
            ("scores", (query, key), (block.heads, positions, keys)),
            ("mix", (self.prefix + "scores", value), (block.c_mid, height, width)),
        ):
            self._emit(Op(self.prefix + part, "attention", inputs, made, macs_attention=macs, block=index))
        self._project("output", block.c_out)
        self._finish(block, source)

    def _key_or_value(self, block: Block, part: str, normed: str, shape: tuple[int, int, int]) -> str:
        self.tensor, self.shape = normed, shape
        if block.k_kv:
            down = f"{part}_down"
            norm = self.batch_norm and down not in block.folded
            self._add_conv(down, block.c_in, block.k_kv, block.kv_stride, 1, True, None, norm)
        return self._project(part, block.key_dim)

    def _project(self, part: str, c_out: int) -> str:
        """A 1x1 convolution without bias or normalisation."""
        c_in, height, width = self.shape
        weights = c_in * c_out
        return self._emit(
            Op(
                self.prefix + part,
                "pointwise",
                (self.tensor,),
                (c_out, height, width),
                macs=weights * height * width,
                params=weights,
                block=self.index,
            )
        )

    def head(self) -> None:
        head = self.spec.head
        self.index, self.prefix = -1, "head."
        self._emit(Op("head.pool", "pool", (self.tensor,), (head.c_in, 1, 1)))
        if head.c_hidden:
            self._add_conv("hidden", head.c_hidden, 1, 1, 1, False, None, head.hidden_norm and self.batch_norm)
        if head.classes:
            outputs = head.outputs
            weights, biases = head.c_embedding * outputs, outputs * head.bias
            shape = (outputs, 1, 1)
            self._emit(
                Op(
                    "head.classifier",
                    "linear",
                    (self.tensor,),
                    shape,
                    macs=weights,
                    params=weights + biases,
                    biases=biases,
                )
            )
