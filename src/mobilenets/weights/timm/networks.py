"""timm's MobileNets as Specs: the published names, and every network that timm's generators make at a width.

Source: timm/models/efficientnet.py and mobilenetv3.py, timm 1.0.31.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ...arch import v3
from ...arch.registry import create_spec, name_with_width
from ...arch.spec import Block, Spec
from ...errors import UserError

TF_EPS = 1e-3  # BN_EPS_TF_DEFAULT
WIDTHS = tuple(step / 20 for step in range(5, 29))  # 0.25, 0.3 ... 1.4


@dataclass(frozen=True, kw_only=True)
class TimmNetwork:
    """A network of timm: its name there, and it as a Spec with 1000 classes and our preprocessing.

    `make` is the Python that makes it in timm, where `name` is no registered one.
    """

    name: str
    spec: Spec
    make: str = ""

    @property
    def twin(self) -> str:
        """The registered network with the same tensors and other padding or strides; "" where there is none."""
        return _TWINS.get(self.name, "")


# timm's name: ours, settings of `create_spec`. A `tf_` name pads as TensorFlow does, with its epsilon.
_PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenetv1_100": ("mobilenet_v1", {}),
    "mobilenetv1_100h": ("mobilenet_v1", {}),
    "mobilenetv1_125": ("mobilenet_v1_125", {}),
    "mobilenetv2_035": ("mobilenet_v2_035", {}),
    "mobilenetv2_050": ("mobilenet_v2_050", {}),
    "mobilenetv2_075": ("mobilenet_v2_075", {}),
    "mobilenetv2_100": ("mobilenet_v2", {}),
    "mobilenetv2_110d": ("mobilenet_v2_110", {"layer_multiplier": 1.2, "fixed_stem_and_head": True}),
    "mobilenetv2_120d": ("mobilenet_v2_120", {"layer_multiplier": 1.4, "fixed_stem_and_head": True}),
    "mobilenetv2_140": ("mobilenet_v2_140", {}),
    "mobilenetv3_large_075": ("mobilenet_v3_large_075", {}),
    "mobilenetv3_large_100": ("mobilenet_v3_large", {}),
    "mobilenetv3_large_150d": ("mobilenet_v3_large_150", {}),
    "mobilenetv3_small_050": ("mobilenet_v3_small_050", {"fixed_stem": True}),
    "mobilenetv3_small_075": ("mobilenet_v3_small_075", {}),
    "mobilenetv3_small_100": ("mobilenet_v3_small", {}),
    "tf_mobilenetv3_large_075": ("mobilenet_v3_large_075", {}),
    "tf_mobilenetv3_large_100": ("mobilenet_v3_large", {}),
    "tf_mobilenetv3_large_minimal_100": ("mobilenet_v3_large_minimal", {}),
    "tf_mobilenetv3_small_075": ("mobilenet_v3_small_075", {}),
    "tf_mobilenetv3_small_100": ("mobilenet_v3_small", {}),
    "tf_mobilenetv3_small_minimal_100": ("mobilenet_v3_small_minimal", {}),
    "mobilenetv4_conv_small_035": ("mobilenet_v4_conv_small_035", {}),
    "mobilenetv4_conv_small_050": ("mobilenet_v4_conv_small_050", {}),
    "mobilenetv4_conv_small": ("mobilenet_v4_conv_small", {}),
    "mobilenetv4_conv_medium": ("mobilenet_v4_conv_medium", {}),
    "mobilenetv4_conv_large": ("mobilenet_v4_conv_large", {}),
    "mobilenetv4_hybrid_medium_075": ("mobilenet_v4_hybrid_medium_075", {}),
    "mobilenetv4_hybrid_medium": ("mobilenet_v4_hybrid_medium", {}),
    "mobilenetv4_hybrid_large_075": ("mobilenet_v4_hybrid_large_075", {}),
    "mobilenetv4_hybrid_large": ("mobilenet_v4_hybrid_large", {}),
}
NAMES = tuple(_PUBLISHED)

_TWINS = {
    **{name.removeprefix("tf_"): name for name in NAMES if name.startswith("tf_") and name[3:] in NAMES},
    "mobilenetv4_conv_medium": "mobilenetv4_conv_blur_medium",
    "mobilenetv4_conv_large": "mobilenetv4_conv_aa_large",
}

_POOLED = "it pools where the paper's network strides, with an activation between; a Spec has no such layer"
REFUSED = {  # beginnings of names
    "mobilenetv4_conv_aa_": _POOLED,
    "mobilenetv4_conv_blur_": _POOLED,
    "mobilenetv3_rw": "the activation inside its squeeze-and-excite changes from block to block; a Spec has one",
    "mobilenetv3_100-35495452": "it is mobilenetv3_rw, whose squeeze-and-excite has an activation per block",
    "mobilenet_edgetpu_": "MobileNet EdgeTPU is no network of the papers V1 to V4",
    "mobilenetv5_": "MobileNet V5 is no network of the papers V1 to V4",
}

# timm's generator of each family, and the registered name that picks the table inside it.
_GENERATORS = {
    "mobilenet_v1": ("efficientnet._gen_mobilenet_v1", "mobilenetv1_100"),
    "mobilenet_v2": ("efficientnet._gen_mobilenet_v2", "mobilenetv2_100"),
    "mobilenet_v3_small": ("mobilenetv3._gen_mobilenet_v3", "mobilenetv3_small_100"),
    "mobilenet_v3_large": ("mobilenetv3._gen_mobilenet_v3", "mobilenetv3_large_100"),
    "mobilenet_v3_small_minimal": ("mobilenetv3._gen_mobilenet_v3", "tf_mobilenetv3_small_minimal_100"),
    "mobilenet_v3_large_minimal": ("mobilenetv3._gen_mobilenet_v3", "tf_mobilenetv3_large_minimal_100"),
    "mobilenet_v4_conv_small": ("mobilenetv3._gen_mobilenet_v4", "mobilenetv4_conv_small"),
    "mobilenet_v4_conv_medium": ("mobilenetv3._gen_mobilenet_v4", "mobilenetv4_conv_medium"),
    "mobilenet_v4_conv_large": ("mobilenetv3._gen_mobilenet_v4", "mobilenetv4_conv_large"),
    "mobilenet_v4_hybrid_medium": ("mobilenetv3._gen_mobilenet_v4", "mobilenetv4_hybrid_medium"),
    "mobilenet_v4_hybrid_large": ("mobilenetv3._gen_mobilenet_v4", "mobilenetv4_hybrid_large"),
}


def name_in(text: str) -> str:
    """The published name with which `text` (a file or model name) begins, up to a dot, dash or underscore; or "".

    Raises UserError where it begins with the name of a network that cannot be a Spec.

    >>> name_in("mobilenetv2_110d_ra-77090ade.pth"), name_in("mobilenetv3_small_075.lamb_in1k"), name_in("best.pth")
    ('mobilenetv2_110d', 'mobilenetv3_small_075', '')
    """
    refuse(text)
    fitting = [name for name in NAMES if re.match(re.escape(name) + r"(?![a-zA-Z0-9])", text)]
    return max(fitting, key=len, default="")


def refuse(text: str) -> None:
    """Raises UserError where `text` begins with the name of a timm network that cannot be a Spec."""
    for start, reason in REFUSED.items():
        if text.startswith(start):
            raise UserError(f"{text} of timm cannot be read: {reason}")


@cache
def published(name: str) -> TimmNetwork:
    """The published network of that name. Raises UserError on another name."""
    refuse(name)
    if name not in _PUBLISHED:
        raise UserError(f"unknown timm architecture {name!r}; allowed: {', '.join(NAMES)}")
    ours, settings = _PUBLISHED[name]
    spec = create_spec(ours, **settings)
    if name.startswith("tf_"):
        spec = replace(spec, padding="same", norm=replace(spec.norm, eps=TF_EPS))
    if name == "mobilenetv1_100h":
        spec = _with_head_convolution(spec)
    if name == "mobilenetv3_large_150d":
        spec = _lengthened(_with_fixed_hidden(spec))
    return TimmNetwork(name=name, spec=spec)


@cache
def at_widths() -> tuple[TimmNetwork, ...]:
    """What timm's generators make at widths 0.25, 0.3 ... 1.4, the papers' own rounding included."""
    return tuple(_at_widths())


def _at_widths() -> Iterator[TimmNetwork]:
    for ours in _GENERATORS:
        for width in WIDTHS:
            for settings in _variants(ours, width):
                yield generated(ours, width, settings)
            if width > 1 and ("_v3_" in ours or "_v4_" in ours):
                network = generated(ours, width, {})
                yield replace(network, spec=_with_fixed_hidden(network.spec))


def _variants(ours: str, width: float) -> Iterator[dict[str, Any]]:
    yield {}
    if ours == "mobilenet_v2":
        for depth in (1.2, 1.4):
            yield {"layer_multiplier": depth, "fixed_stem_and_head": True}
    elif "_v3_" in ours and width < 0.75:
        yield {"fixed_stem": True}


def generated(ours: str, width: float, settings: dict[str, Any]) -> TimmNetwork:
    """A network of the registry as timm's generator makes it."""
    spec = create_spec(ours, width=width, **settings)
    if ours.endswith("_minimal"):
        spec = replace(spec, padding="same", norm=replace(spec.norm, eps=TF_EPS))
    generator, variant = _GENERATORS[ours]
    more = "".join(
        {"layer_multiplier": f", depth_multiplier={value}", "fixed_stem_and_head": ", fix_stem_head=True"}.get(key, "")
        for key, value in settings.items()
    )
    make = f"timm.models.{generator}({variant!r}, {width:g}{more}"
    return TimmNetwork(name=name_with_width(variant.removesuffix("_100"), width), spec=spec, make=make)


def _with_head_convolution(spec: Spec) -> Spec:
    """V1 with a normalised 1x1 convolution to 1024 channels before pooling (`head_conv`)."""
    c_in = spec.head.c_in
    c_out = max(1024, c_in)
    last = Block(kind="conv", c_in=c_in, c_mid=c_out, c_out=c_out, k_mid=1, act="relu6")
    return replace(spec, name="mobilenet_v1_h", blocks=(*spec.blocks, last), head=replace(spec.head, c_in=c_out))


def _with_fixed_hidden(spec: Spec) -> Spec:
    """V3 or V4 above width 1 as timm has it: the layer after pooling keeps its 1280 or 1024 channels."""
    hidden = v3.SMALL_HIDDEN if "_v3_small" in spec.name else v3.LARGE_HIDDEN
    return replace(spec, head=replace(spec.head, c_hidden=hidden))


_REPEATED_150D = (1, 3, 6, 8, 12, 15, 16)  # blocks of V3-Large that stand twice


def _lengthened(spec: Spec) -> Spec:
    """V3-Large with ceil(1.2 n) blocks in a stage of n (`mobilenetv3_large_150d`).

    Which row is repeated follows `_scale_stage_depth` in timm/models/_efficientnet_builder.py: the last ones first,
    each in proportion, so of the stage with 80 channels the second row and not the third.
    """
    blocks: list[Block] = []
    for index, block in enumerate(spec.blocks):
        if index in _REPEATED_150D:
            blocks.append(replace(block, tap=""))
            block = replace(block, c_in=block.c_out, residual=block.kind != "conv")
        blocks.append(block)
    return replace(spec, name="mobilenet_v3_large_150d", blocks=tuple(blocks))
