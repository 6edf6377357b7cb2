"""The papers' blocks as modules, each usable on its own: `InvertedResidual(Block(kind="inverted", ...))`.

Every block takes its absolute `Block` and the network's `Style` (normalisation, padding, gate), maps
(N, c_in, H, W) to (N, c_out, ceil(H / stride), ceil(W / stride)), and names its convolutions as `arch.graph` does.
Weights are torch's own initial ones; `nn.init.initialise_` sets others. A Block of another kind raises UserError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ..arch.spec import Activation, Block, Gate, Kind, Norm, Padding, Spec
from ..errors import UserError
from .layers import ConvNormAct, LayerScale, activation, batch_norm, gate
from .reparam import BranchedConvNormAct
from .stochastic_depth import drop_branch

Convolution = ConvNormAct | BranchedConvNormAct  # with its normalisation and activation; as it ships, as it trains


@dataclass(frozen=True)
class Style:
    """What all blocks of a network share."""

    norm: Norm = field(default_factory=Norm)
    padding: Padding = "symmetric"
    se_act: Activation = "relu"
    se_gate: Gate = "hard_sigmoid"
    reparam: int = 0  # convolution branches of the training form, see `nn.reparam`

    @classmethod
    def of(cls, spec: Spec) -> Style:
        """The style of a Spec."""
        return cls(spec.norm, spec.padding, spec.se_act, spec.se_gate, spec.reparam)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite (Hu et al. 2018; V3 section 5.3): x * gate(W2 act(W1 mean(x))), (N, C, H, W) both ways.

    W1 has `squeezed` outputs; both layers have a bias and no normalisation. The gate is within 0...1.

    >>> import torch
    >>> SqueezeExcite(72, 24)(torch.randn(2, 72, 28, 28)).shape
    torch.Size([2, 72, 28, 28])
    """

    def __init__(
        self, channels: int, squeezed: int, *, act: Activation = "relu", gate_name: Gate = "hard_sigmoid"
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = activation(act)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate(gate_name)

    def forward(self, x: Tensor) -> Tensor:
        scale = F.adaptive_avg_pool2d(x, 1)  # (N, C, 1, 1)
        return x * self.gate(self.expand(self.act(self.reduce(scale))))


class _BlockModule(nn.Module):
    """What the blocks share: making a named convolution, the residual sum, squeeze-and-excite, layer scale."""

    kind: ClassVar[Kind]

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__()
        if block.kind != self.kind:
            raise UserError(f"{type(self).__name__} cannot be of kind {block.kind!r}; allowed: {self.kind}")
        if block.fault:
            raise UserError(f"the {block.kind} block {block.fault}")
        self.block = block
        self.style = style or Style()
        self.residual = block.residual
        self.drop_rate = 0.0  # of stochastic depth; no part of the state, see `nn.stochastic_depth`

    def _conv(self, part: str, c_in: int, c_out: int, kernel: int, act: Activation, *, groups: int = 1) -> Convolution:
        block = self.block
        strided = part == block.strided
        return self._made(
            part,
            c_in,
            c_out,
            kernel,
            stride=block.stride if strided else 1,
            dilation=block.dilation if kernel > 1 else 1,
            groups=groups,
            act=act,
            pad=block.pad if strided else None,
        )

    def _made(self, part: str, *sizes: int, **settings: Any) -> Convolution:
        """The convolution `part` in the network's style: with branches where that has them and it is normalised."""
        style = self.style
        norm = None if part in self.block.folded else style.norm
        if style.reparam and norm is not None and norm.kind == "batch":
            return BranchedConvNormAct(*sizes, norm=norm, padding=style.padding, branches=style.reparam, **settings)
        return ConvNormAct(*sizes, norm=norm, padding=style.padding, **settings)

    def _joined(self, x: Tensor, branch: Tensor) -> Tensor:
        """The block's output from its input and its branch."""
        if not self.residual:
            return branch
        if self.training and self.drop_rate:
            branch = drop_branch(branch, self.drop_rate)
        return x + branch

    def _depthwise(self, part: str, c_in: int, c_out: int, kernel: int, act: Activation) -> Convolution:
        return self._conv(part, c_in, c_out, kernel, act, groups=c_in)

    def _squeeze_excite(self) -> nn.Module:
        block, style = self.block, self.style
        if not block.c_se:
            return nn.Identity()
        return SqueezeExcite(block.c_mid, block.c_se, act=style.se_act, gate_name=style.se_gate)

    def _layer_scale(self) -> nn.Module:
        return LayerScale(self.block.c_out, self.block.layer_scale) if self.block.layer_scale else nn.Identity()

    @property
    def _last_act(self) -> Activation:
        return "identity" if self.block.linear else self.block.act


class Conv(_BlockModule):
    """A standard convolution with normalisation and activation. (N, c_in, H, W) -> (N, c_out, H / stride, W / stride).

    >>> import torch
    >>> stem = Conv(Block(kind="conv", c_in=3, c_mid=32, c_out=32, k_mid=3, stride=2, act="relu6"))
    >>> stem(torch.randn(1, 3, 224, 224)).shape
    torch.Size([1, 32, 112, 112])
    """

    kind = "conv"

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__(block, style)
        self.conv = self._conv("conv", block.c_in, block.c_out, block.k_mid, self._last_act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self._joined(x, y)


class DepthwiseSeparable(_BlockModule):
    """Depthwise convolution, then 1x1 (Howard et al. 2017, figure 3); V2's and V3's first block with a linear end.

    c_mid is c_in times the filters per input channel. (N, c_in, H, W) -> (N, c_out, H / stride, W / stride).

    >>> import torch
    >>> row = Block(kind="separable", c_in=64, c_mid=64, c_out=128, k_mid=3, stride=2, act="relu6")
    >>> DepthwiseSeparable(row)(torch.randn(1, 64, 56, 56)).shape
    torch.Size([1, 128, 28, 28])
    """

    kind = "separable"

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__(block, style)
        self.depthwise = self._depthwise("depthwise", block.c_in, block.c_mid, block.k_mid, block.act)
        self.se = self._squeeze_excite()
        self.pointwise = self._conv("pointwise", block.c_mid, block.c_out, 1, self._last_act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.se(self.depthwise(x)))
        return self._joined(x, y)


class InvertedResidual(_BlockModule):
    """Expand, depthwise, squeeze-and-excite, linear projection (Sandler et al. 2018, table 1; V3, figure 4).

    (N, c_in, H, W) -> (N, c_out, H / stride, W / stride); inside it has c_mid channels. `linear` leaves the activation
    after the projection out, the paper's linear bottleneck; `residual` adds the input.

    >>> import torch
    >>> row = Block(kind="inverted", c_in=40, c_mid=120, c_out=40, k_mid=5, c_se=32, linear=True, residual=True)
    >>> InvertedResidual(row)(torch.randn(1, 40, 28, 28)).shape
    torch.Size([1, 40, 28, 28])
    """

    kind = "inverted"

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__(block, style)
        self.expand = self._conv("expand", block.c_in, block.c_mid, 1, block.act)
        self.depthwise = self._depthwise("depthwise", block.c_mid, block.c_mid, block.k_mid, block.act)
        self.se = self._squeeze_excite()
        self.project = self._conv("project", block.c_mid, block.c_out, 1, self._last_act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return self._joined(x, y)


class FusedInvertedBottleneck(_BlockModule):
    """Expansion by a full convolution, linear projection (V4's FusedIB; Tan & Le 2021).

    (N, c_in, H, W) -> (N, c_out, H / stride, W / stride).

    >>> import torch
    >>> row = Block(kind="fused", c_in=32, c_mid=128, c_out=48, k_mid=3, stride=2, linear=True)
    >>> FusedInvertedBottleneck(row)(torch.randn(1, 32, 128, 128)).shape
    torch.Size([1, 48, 64, 64])
    """

    kind = "fused"

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__(block, style)
        self.expand = self._conv("expand", block.c_in, block.c_mid, block.k_mid, block.act)
        self.se = self._squeeze_excite()
        self.project = self._conv("project", block.c_mid, block.c_out, 1, self._last_act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.expand(x)))
        return self._joined(x, y)


class UniversalInvertedBottleneck(_BlockModule):
    """Two optional depthwise layers around the expansion (Qin et al. 2024, figure 4).

    k_start and k_mid: ExtraDW; k_mid alone: the inverted bottleneck; k_start alone: ConvNext-like; none: FFN.
    The first depthwise layer has no activation; the stride is the middle one's, or the first one's where it is alone.
    (N, c_in, H, W) -> (N, c_out, H / stride, W / stride).

    >>> import torch
    >>> row = Block(kind="universal", c_in=80, c_mid=480, c_out=160, k_start=3, k_mid=5, stride=2, linear=True)
    >>> UniversalInvertedBottleneck(row)(torch.randn(1, 80, 32, 32)).shape
    torch.Size([1, 160, 16, 16])
    """

    kind = "universal"

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__(block, style)
        start, mid = block.k_start, block.k_mid
        self.depthwise_start = (
            self._depthwise("depthwise_start", block.c_in, block.c_in, start, "identity") if start else nn.Identity()
        )
        self.expand = self._conv("expand", block.c_in, block.c_mid, 1, block.act)
        self.depthwise_mid = (
            self._depthwise("depthwise_mid", block.c_mid, block.c_mid, mid, block.act) if mid else nn.Identity()
        )
        self.se = self._squeeze_excite()
        self.project = self._conv("project", block.c_mid, block.c_out, 1, self._last_act)
        self.layer_scale = self._layer_scale()

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise_mid(self.expand(self.depthwise_start(x)))
        y = self.layer_scale(self.project(self.se(y)))
        return self._joined(x, y)


class MobileMQA(_BlockModule):
    """Mobile multi-query attention with a residual (Qin et al. 2024, section 3.2, equation 1).

    All heads share one key and one value of `key_dim` channels; with `k_kv` keys and values are shrunk by a strided
    depthwise convolution first. (N, c_in, H, W) -> (N, c_out, H, W).

    >>> import torch
    >>> row = Block(kind="attention", c_in=160, c_mid=256, c_out=160, heads=4, key_dim=64, k_kv=3, kv_stride=2)
    >>> MobileMQA(row)(torch.randn(1, 160, 16, 16)).shape
    torch.Size([1, 160, 16, 16])
    """

    kind = "attention"

    def __init__(self, block: Block, style: Style | None = None) -> None:
        super().__init__(block, style)
        self.norm = batch_norm(block.c_in, self.style.norm)
        self.query = nn.Conv2d(block.c_in, block.heads * block.key_dim, 1, bias=False)
        self.key_down = self._down("key_down")
        self.key = nn.Conv2d(block.c_in, block.key_dim, 1, bias=False)
        self.value_down = self._down("value_down")
        self.value = nn.Conv2d(block.c_in, block.key_dim, 1, bias=False)
        self.output = nn.Conv2d(block.heads * block.key_dim, block.c_out, 1, bias=False)
        self.layer_scale = self._layer_scale()

    def _down(self, part: str) -> nn.Module:
        block = self.block
        if not block.k_kv:
            return nn.Identity()
        return self._made(part, block.c_in, block.c_in, block.k_kv, stride=block.kv_stride, groups=block.c_in)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        heads, dim = self.block.heads, self.block.key_dim
        y = self.norm(x)
        q = self.query(y).view(n, heads, dim, height * width).transpose(2, 3)  # (N, heads, HW, dim)
        k = self.key(self.key_down(y)).flatten(2).transpose(1, 2).unsqueeze(1)  # (N, 1, hw, dim)
        v = self.value(self.value_down(y)).flatten(2).transpose(1, 2).unsqueeze(1)  # (N, 1, hw, dim)
        k, v = k.expand(-1, heads, -1, -1), v.expand(-1, heads, -1, -1)
        y = F.scaled_dot_product_attention(q, k, v)  # (N, heads, HW, dim)
        y = y.transpose(2, 3).reshape(n, heads * dim, height, width)
        y = self.layer_scale(self.output(y))
        return self._joined(x, y)


BLOCKS: dict[str, type[_BlockModule]] = {
    module.kind: module
    for module in (
        Conv,
        DepthwiseSeparable,
        InvertedResidual,
        FusedInvertedBottleneck,
        UniversalInvertedBottleneck,
        MobileMQA,
    )
}
