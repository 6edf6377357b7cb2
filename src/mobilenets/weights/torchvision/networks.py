"""torchvision's MobileNets as Specs, its names of their tensors, and its preprocessing.

Source: torchvision/models/mobilenetv2.py and mobilenetv3.py, torchvision 0.28.0. Its V3 at a width scales the printed
expanded sizes and the head, where the authors scale the ratio and keep the head; its Specs are made here, absolute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...arch import v3
from ...arch.registry import create_spec
from ...arch.spec import Block, Head, Preprocessing, Spec
from ...arch.widths import make_divisible
from ...errors import UserError
from ..names import tensor_shapes

WIDTHS = (1.0, *(step / 20 for step in range(5, 29) if step != 20))  # 1, then 0.25, 0.3 ... 1.4
V3_EPS, V3_MOMENTUM = 1e-3, 0.01
_TAIL = 3  # blocks of V3 from torchvision's C4 on, which `reduced_tail` halves and `dilated` dilates


@dataclass(frozen=True, kw_only=True)
class TorchvisionNetwork:
    """A classifier of torchvision: its name, the Python that makes it, and it as a Spec with 1000 classes."""

    name: str
    make: str
    spec: Spec


class Published(NamedTuple):
    """Published weights of a classifier: the file's name, the enum's member, and the side to which pictures shrink."""

    file: str
    architecture: str
    weights: str
    resize: int


PUBLISHED = (  # the first of each architecture is the older one, which older files hold
    Published("mobilenet_v2-b0353104.pth", "mobilenet_v2", "IMAGENET1K_V1", 256),
    Published("mobilenet_v2-7ebf99e0.pth", "mobilenet_v2", "IMAGENET1K_V2", 232),
    Published("mobilenet_v3_large-8738ca79.pth", "mobilenet_v3_large", "IMAGENET1K_V1", 256),
    Published("mobilenet_v3_large-5c1a4163.pth", "mobilenet_v3_large", "IMAGENET1K_V2", 232),
    Published("mobilenet_v3_small-047dcff4.pth", "mobilenet_v3_small", "IMAGENET1K_V1", 256),
)
NAMES = tuple(dict.fromkeys(each.architecture for each in PUBLISHED))
CROP = 224


def preprocessing(resize: int) -> Preprocessing:
    """torchvision's: the short side to `resize` pixels, bilinear, the centre 224, ImageNet's mean and deviation."""
    return Preprocessing(resolution=CROP, crop_fraction=CROP / resize, interpolation="bilinear")


def networks(name: str = "") -> Iterator[TorchvisionNetwork]:
    """Every classifier that torchvision can make, of one architecture where it is named: width 1 first."""
    for architecture in (name,) if name else NAMES:
        for width in WIDTHS:
            for reduced in (False, True) if architecture != "mobilenet_v2" else (False,):
                yield network(architecture, width, reduced_tail=reduced)


def network(name: str, width: float = 1.0, *, reduced_tail: bool = False) -> TorchvisionNetwork:
    """One classifier. Raises UserError on an unknown name."""
    if name not in NAMES:
        raise UserError(f"unknown torchvision architecture {name!r}; allowed: {', '.join(NAMES)}")
    settings = f", width_mult={width:g}" if width != 1 else ""
    if name == "mobilenet_v2":
        spec = replace(create_spec(name, width=width), preprocessing=preprocessing(256))
        return TorchvisionNetwork(name=name, make=f"torchvision.models.mobilenet_v2({settings[2:]}", spec=spec)
    settings += ", reduced_tail=True" if reduced_tail else ""
    if width == 1:
        make = f"torchvision.models.{name}({settings[2:]}"
    else:
        conf = f"*torchvision.models.mobilenetv3._mobilenet_v3_conf({name!r}{settings})"
        make = f"torchvision.models.MobileNetV3({conf}"
    return TorchvisionNetwork(name=name, make=make, spec=_v3(name, width, reduced_tail))


def _v3(name: str, width: float, reduced_tail: bool) -> Spec:
    """V3 by torchvision's rule: every printed channel count c becomes make_divisible(c * width)."""
    base = create_spec(name, norm_eps=V3_EPS, norm_momentum=V3_MOMENTUM)
    rows, hidden = (
        (v3.TABLE_1_LARGE, v3.LARGE_HIDDEN) if name.endswith("large") else (v3.TABLE_2_SMALL, v3.SMALL_HIDDEN)
    )
    stem, *body, last = base.blocks
    channels = make_divisible(v3.STEM_CHANNELS * width)
    blocks = [replace(stem, c_mid=channels, c_out=channels)]
    for index, (row, block) in enumerate(zip(rows, body, strict=True)):
        distance = len(rows) - index  # from the end: the tail is 3 blocks, of which the first keeps its expansion
        out = row.out // 2 if reduced_tail and distance <= _TAIL else row.out
        expanded = row.exp_size // 2 if reduced_tail and distance < _TAIL else row.exp_size
        blocks.append(
            _bottleneck(block, blocks[-1].c_out, make_divisible(expanded * width), make_divisible(out * width))
        )
    c_in = blocks[-1].c_out
    blocks.append(replace(last, c_in=c_in, c_mid=6 * c_in, c_out=6 * c_in))
    head = replace(
        base.head,
        c_in=6 * c_in,
        c_hidden=make_divisible((hidden // 2 if reduced_tail else hidden) * width),
    )
    suffix = "_reduced_tail" if reduced_tail else ""
    tidy = base if width == 1 and not reduced_tail else replace(base, name=f"{name}{suffix}_torchvision", width=width)
    return replace(tidy, blocks=tuple(blocks), head=head, preprocessing=preprocessing(256))


def _bottleneck(block: Block, c_in: int, c_mid: int, c_out: int) -> Block:
    """A row with torchvision's channels: no expanding convolution where it would not expand."""
    return replace(
        block,
        kind="separable" if c_mid == c_in else "inverted",
        c_in=c_in,
        c_mid=c_mid,
        c_out=c_out,
        c_se=make_divisible(c_mid // 4) if block.c_se else 0,
        residual=block.stride == 1 and c_in == c_out,
    )


def as_backbone(spec: Spec, *, dilated: bool = False, eps: float | None = None) -> Spec:
    """`spec` without a head after pooling; `dilated`: V3's last blocks keep the resolution, with dilation 2 instead."""
    blocks = list(spec.blocks)
    if dilated:
        for index in range(len(blocks) - 1 - _TAIL, len(blocks) - 1):
            blocks[index] = replace(blocks[index], stride=1, dilation=2)
    norm = spec.norm if eps is None else replace(spec.norm, eps=eps)
    return replace(
        spec,
        name=f"{spec.name}_backbone",
        blocks=tuple(blocks),
        head=Head(c_in=spec.head.c_in, classes=0),
        norm=norm,
    )


# names ---------------------------------------------------------------------------------------------------------------


def torchvision_names(spec: Spec) -> dict[str, str]:
    """Our name of every tensor -> torchvision's. Raises UserError on a network whose layers torchvision does not have.

    >>> names = torchvision_names(create_spec("mobilenet_v2"))
    >>> names["blocks.2.project.norm.bias"], names["head.classifier.weight"]
    ('features.2.conv.3.bias', 'classifier.1.weight')
    """
    if spec.norm.kind != "batch" or any(block.folded for block in spec.blocks):
        raise UserError(
            f"{spec.name}: its BatchNorm is folded into the convolutions; torchvision's networks keep theirs"
        )
    kinds = [block.kind for block in spec.blocks]
    fits = spec.generation in (2, 3) and not spec.head.hidden_norm and (spec.generation == 3 or not spec.head.c_hidden)
    if not fits or {kinds[0], kinds[-1]} != {"conv"} or not set(kinds[1:-1]) <= {"separable", "inverted"}:
        raise UserError(f"{spec.name}: torchvision has MobileNet V2 and V3 alone")
    return {own: _translate(own, spec) for own in tensor_shapes(spec)}


def _translate(own: str, spec: Spec) -> str:
    if own.startswith("head."):
        leaf = own.rsplit(".", 1)[-1]
        if ".hidden." in own:
            return f"classifier.0.{leaf}"
        return f"classifier.{1 if spec.generation == 2 else 3}.{leaf}"
    _, index, *path = own.split(".")
    block = spec.blocks[int(index)]
    if block.kind == "conv":
        return f"features.{index}.{int(path[1] == 'norm')}.{path[-1]}"
    module = _v2_module(block, path) if spec.generation == 2 else _v3_module(block, path)
    return f"features.{index}.{module}.{path[-1]}"


def _v2_module(block: Block, path: list[str]) -> str:
    """Two modules for the linear convolution and its BatchNorm, a pair for each one before it."""
    parts = ("depthwise", "pointwise") if block.kind == "separable" else ("expand", "depthwise", "project")
    place, norm = parts.index(path[0]), int(path[1] == "norm")
    return f"conv.{place + norm}" if place == len(parts) - 1 else f"conv.{place}.{norm}"


def _v3_module(block: Block, path: list[str]) -> str:
    squeeze = ("se",) if block.c_se else ()
    parts = ("depthwise", *squeeze, "pointwise") if block.kind == "separable" else (
        "expand", "depthwise", *squeeze, "project"
    )  # fmt: skip
    place = parts.index(path[0])
    if path[0] == "se":
        return f"block.{place}.{'fc1' if path[1] == 'reduce' else 'fc2'}"
    return f"block.{place}.{int(path[1] == 'norm')}"
