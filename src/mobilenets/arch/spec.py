"""The network as data: absolute blocks, head, normalisation, padding and preprocessing. No torch.

Everything downstream reads this and nothing else: cost, the torch network, pruning, search, the checkpoint and the
report. A `Block` holds absolute channel counts, so a pruned or searched network needs no code but this to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from ..errors import UserError
from .records import record_from_json

FORMAT = 1

Kind = Literal["conv", "separable", "inverted", "fused", "universal", "attention"]
Activation = Literal["relu", "relu6", "hard_swish", "leaky_relu", "gelu", "identity"]
Gate = Literal["hard_sigmoid", "sigmoid"]
Padding = Literal["symmetric", "same"]
Initialisation = Literal["truncated_normal", "variance_scaling", "kaiming_fan_out"]
Profile = Literal["authors", "default"]
Interpolation = Literal["area_linear", "bilinear", "bicubic"]

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
PROFILES: tuple[str, ...] = get_args(Profile)


_STRIDED: dict[str, str] = {
    "conv": "conv",
    "separable": "depthwise",
    "inverted": "depthwise",
    "fused": "expand",
    "universal": "depthwise_mid",
    "attention": "",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block with absolute sizes.

    What its convolutions are depends on `kind` (names in parentheses are the module names in the network):

    ==========  ====================================================================================================
    conv        k_mid x k_mid convolution (`conv`)
    separable   k_mid depthwise (`depthwise`), squeeze-and-excite, 1x1 (`pointwise`); V1's block, V2/V3's first
    inverted    1x1 to c_mid (`expand`), k_mid depthwise (`depthwise`), squeeze-and-excite, 1x1 (`project`)
    fused       k_mid x k_mid convolution to c_mid (`expand`), 1x1 (`project`)
    universal   k_start depthwise (`depthwise_start`), 1x1 to c_mid (`expand`), k_mid depthwise (`depthwise_mid`),
                1x1 (`project`); a kernel of 0 leaves that depthwise layer out
    attention   normalisation, mobile multi-query attention with a residual connection
    ==========  ====================================================================================================
    """

    kind: Kind
    c_in: int
    c_mid: int  # channels of the depthwise layer, or of the expansion; attention: heads x key_dim
    c_out: int
    k_start: int = 0
    k_mid: int = 0
    stride: int = 1
    dilation: int = 1  # of every kernel in the block
    act: Activation = "relu"
    linear: bool = False  # the last convolution has no activation
    residual: bool = False
    c_se: int = 0  # channels of the squeeze; 0: no squeeze-and-excite
    layer_scale: float = 0.0  # initial value of a learnt factor per channel before the residual sum; 0: none
    heads: int = 0
    key_dim: int = 0
    k_kv: int = 0  # depthwise kernel that shrinks keys and values; 0: they keep the resolution
    kv_stride: int = 1
    pad: tuple[int, int, int, int] | None = None  # explicit (left, right, top, bottom) of the strided convolution
    folded: tuple[str, ...] = ()  # convolutions with a bias and no normalisation
    tap: str = ""  # name under which `features` returns this block's output

    @property
    def strided(self) -> str:
        """The name of the convolution that carries `stride` and `pad`; attention has none."""
        if self.kind == "universal" and not self.k_mid:
            return "depthwise_start"
        return _STRIDED[self.kind]

    @property
    def fault(self) -> str:
        """Why no network can have this block, or an empty string."""
        if min(self.c_in, self.c_mid, self.c_out, self.stride, self.dilation) < 1:
            return "has a size, stride or dilation below 1"
        if self.residual and (self.c_in != self.c_out or self.stride != 1):
            return "has a residual but changes channels or resolution"
        if self.kind == "attention":
            if self.c_mid != self.heads * self.key_dim:
                return f"has {self.c_mid} attention channels instead of {self.heads} heads x {self.key_dim}"
            if self.stride != 1:
                return "is attention with a stride"
        elif self.kind == "universal":
            if self.stride > 1 and not (self.k_start or self.k_mid):
                return "has a stride but no depthwise convolution to carry it"
        elif self.k_mid < 1:
            return f"is of kind {self.kind} and has no kernel"
        if self.kind == "separable" and self.c_mid % self.c_in:
            return f"has {self.c_mid} depthwise channels, no multiple of its {self.c_in} input channels"
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Pooling, an optional hidden layer, dropout and the classifier.

    `c_hidden` > 0 is the 1x1 convolution after pooling (V3: with bias, no normalisation; V4: normalised, no bias).
    `classes` counts labels; with `background` the network has one more output, in front, that stands for no label.
    `classes` = 0 leaves the classifier out: the network returns the embedding.
    """

    c_in: int
    c_hidden: int = 0
    hidden_norm: bool = False
    act: Activation = "identity"
    dropout: float = 0.0
    classes: int = 1000
    bias: bool = True
    background: bool = False

    @property
    def outputs(self) -> int:
        """Number of logits."""
        return self.classes + self.background

    @property
    def c_embedding(self) -> int:
        """Channels of what `embed` returns."""
        return self.c_hidden or self.c_in


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """Normalisation after each convolution: `batch`, or `none` (folded: each convolution has a bias instead).

    `momentum` is torch's: running = (1 - momentum) * running + momentum * batch. TensorFlow's decay is 1 - momentum.
    """

    kind: Literal["batch", "none"] = "batch"
    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How an image file becomes the network's input: resize, centre crop, then (x - mean) / std.

    `mean` and `std` are per channel (RGB) in units of raw values 0...255. `shortest` resizes the short side to
    round(resolution / crop_fraction) and crops the centre; `squash` resizes both sides to the resolution; `central`
    cuts out the central crop_fraction of both sides, then resizes both to the resolution.
    """

    resolution: int
    resize: Literal["shortest", "squash", "central"] = "shortest"
    crop_fraction: float = 0.875
    interpolation: Interpolation = "area_linear"
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A whole network as data.

    With `reparam` N > 0 every normalised convolution of a block trains as N parallel ones beside a 1x1 and an identity
    branch, see `nn.reparam`; they fold into one, which is what ships and what `arch.cost` counts.
    Raises `UserError` on construction when channels of neighbouring blocks do not fit.
    """

    name: str
    generation: int
    blocks: tuple[Block, ...]
    head: Head
    preprocessing: Preprocessing
    in_channels: int = 3
    width: float = 1.0  # the multiplier it was made with; the blocks hold the result
    profile: Profile = "default"
    norm: Norm = field(default_factory=Norm)
    padding: Padding = "symmetric"
    se_act: Activation = "relu"
    se_gate: Gate = "hard_sigmoid"
    init: Initialisation = "kaiming_fan_out"
    reparam: int = 0  # convolution branches of the training form; 0: the plain network

    def __post_init__(self) -> None:
        if not self.blocks:
            raise UserError(f"{self.name}: a network needs at least one block")
        channels = self.in_channels
        for index, block in enumerate(self.blocks):
            if block.c_in != channels:
                raise UserError(f"{self.name}: block {index} takes {block.c_in} channels but gets {channels}")
            reason = block.fault
            if reason:
                raise UserError(f"{self.name}: block {index} {reason}")
            channels = block.c_out
        if self.head.c_in != channels:
            raise UserError(f"{self.name}: the head takes {self.head.c_in} channels but gets {channels}")
        pre = self.preprocessing
        if not len(pre.mean) == len(pre.std) == self.in_channels:
            raise UserError(
                f"{self.name}: {len(pre.mean)} means and {len(pre.std)} standard deviations do not fit "
                f"{self.in_channels} input channels"
            )
        if self.reparam and self.norm.kind == "none":
            raise UserError(
                f"{self.name}: reparam {self.reparam} needs BatchNorm in each branch, and it is folded in; allowed: 0"
            )

    @property
    def resolution(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocessing.resolution

    @property
    def taps(self) -> tuple[Tap, ...]:
        """What `features` returns, in order: name, channels and stride of each tapped block."""
        found = []
        stride = 1
        for block in self.blocks:
            stride *= block.stride
            if block.tap:
                found.append(Tap(block.tap, block.c_out, stride))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`; a block's fields at their default are left out, and `reparam` where it is 0."""
        data = asdict(self)
        if not self.reparam:
            del data["reparam"]
        defaults = {f.name: f.default for f in fields(Block)}
        data["blocks"] = [
            {k: v for k, v in block.items() if k in _REQUIRED or v != defaults[k]} for block in data["blocks"]
        ]
        return {"format": FORMAT, **json.loads(json.dumps(data))}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Spec:
        """The Spec that `to_json` wrote. Raises UserError on an unknown format, key or value."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise UserError(f"not a spec of format {FORMAT}: found {found!r}")
        return record_from_json(cls, {key: value for key, value in data.items() if key != "format"}, "spec")


@dataclass(frozen=True, slots=True)
class Tap:
    """A feature map that `features` returns: its name, channels, and stride relative to the input."""

    name: str
    channels: int
    stride: int

    def __iter__(self) -> Iterator[Any]:
        return iter((self.name, self.channels, self.stride))


_REQUIRED = ("kind", "c_in", "c_mid", "c_out")


def with_blocks(spec: Spec, blocks: tuple[Block, ...]) -> Spec:
    """`spec` with other blocks; the head follows the last block's channels."""
    return replace(spec, blocks=blocks, head=replace(spec.head, c_in=blocks[-1].c_out))
