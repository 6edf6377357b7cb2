"""Architecture names, and the one function that makes a Spec from a name and settings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from ..errors import UserError
from . import adapt
from .spec import Activation, Padding, Profile, Spec
from .v1 import mobilenet_v1
from .v2 import mobilenet_v2
from .v3 import mobilenet_v3
from .v4 import mobilenet_v4
from .widths import check_width


@dataclass(frozen=True, slots=True)
class Architecture:
    """A name that `create_spec` takes, and where the network comes from."""

    name: str
    build: Callable[..., Spec]
    source: str
    takes: tuple[str, ...] = ()  # settings of this generation alone


_V1 = "Howard et al. 2017, arXiv:1704.04861"
_V2 = "Sandler et al. 2018, arXiv:1801.04381"
_V3 = "Howard et al. 2019, arXiv:1905.02244"
_V3_TAKES = ("se_divisor", "fixed_stem")
_V4 = "Qin et al. 2024, arXiv:2404.10518"

ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        Architecture("mobilenet_v1", mobilenet_v1, f"{_V1}, table 1", ("channels_per_input",)),
        Architecture(
            "mobilenet_v1_shallow",
            partial(mobilenet_v1, variant="shallow"),
            f"{_V1}, table 5",
            ("channels_per_input",),
        ),
        Architecture("mobilenet_v1_full_conv", partial(mobilenet_v1, variant="full_conv"), f"{_V1}, table 4"),
        Architecture("mobilenet_v2", mobilenet_v2, f"{_V2}, table 2", ("layer_multiplier", "fixed_stem_and_head")),
        Architecture("mobilenet_v3_small", partial(mobilenet_v3, "small"), f"{_V3}, table 2", _V3_TAKES),
        Architecture("mobilenet_v3_large", partial(mobilenet_v3, "large"), f"{_V3}, table 1", _V3_TAKES),
        Architecture(
            "mobilenet_v3_small_minimal", partial(mobilenet_v3, "small", minimal=True), f"{_V3}, slim README", _V3_TAKES
        ),
        Architecture(
            "mobilenet_v3_large_minimal", partial(mobilenet_v3, "large", minimal=True), f"{_V3}, slim README", _V3_TAKES
        ),
        Architecture("mobilenet_v4_conv_small", partial(mobilenet_v4, "conv_small"), f"{_V4}, appendix"),
        Architecture("mobilenet_v4_conv_medium", partial(mobilenet_v4, "conv_medium"), f"{_V4}, appendix"),
        Architecture("mobilenet_v4_conv_large", partial(mobilenet_v4, "conv_large"), f"{_V4}, appendix"),
        Architecture("mobilenet_v4_hybrid_medium", partial(mobilenet_v4, "hybrid_medium"), f"{_V4}, appendix"),
        Architecture("mobilenet_v4_hybrid_large", partial(mobilenet_v4, "hybrid_large"), f"{_V4}, appendix"),
    )
}


def parse_name(name: str) -> tuple[Architecture, float | None]:
    """The architecture a name stands for and the width written into it, if any: 075 is 0.75, 0125 is 0.125.

    Raises UserError with near misses when there is none.

    >>> architecture, width = parse_name("mobilenet_v3_small_075")
    >>> architecture.name, width
    ('mobilenet_v3_small', 0.75)
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name], None
    match = re.fullmatch(r"(.+)_(\d)(\d{2,})", name)
    if match and match[1] in ARCHITECTURES:
        return ARCHITECTURES[match[1]], float(f"{match[2]}.{match[3]}")
    near = _near_misses(re.sub(r"mobilenet_?v?(?=\d)", "mobilenet_v", name.lower()))
    hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(ARCHITECTURES)}"
    raise UserError(f"unknown model {name!r}; {hint}")


def _near_misses(name: str) -> list[str]:
    """The names that go on from `name`, up to five; else up to three, best first, at least 60 % alike.

    A name is compared whole and by its beginning, so that one that is misspelt and left unfinished is known too.
    """
    longer = [each for each in ARCHITECTURES if each.startswith(name)]
    if 0 < len(longer) <= 5:
        return longer

    def likeness(each: str) -> float:
        return difflib.SequenceMatcher(None, each, name).ratio()

    begun = {each: max(likeness(each), likeness(each[: len(name) + 1])) for each in ARCHITECTURES}
    near = [each for each in ARCHITECTURES if begun[each] > max(0.6, max(begun.values()) - 0.05)]
    near = [each for each in near if likeness(each) > max(map(likeness, near)) - 0.08]
    return sorted(near, key=likeness, reverse=True)[:3]


def name_with_width(name: str, width: float) -> str:
    """The name that `parse_name` reads back: the width's digits with two or more decimals, none for 1.

    >>> name_with_width("mobilenet_v2", 1.4), name_with_width("mobilenet_v2", 0.125), name_with_width("mobilenet_v2", 1)
    ('mobilenet_v2_140', 'mobilenet_v2_0125', 'mobilenet_v2')
    """
    if width == 1:
        return name
    whole, decimals = f"{width:.12f}".split(".")
    return f"{name}_{whole}{decimals.rstrip('0').ljust(2, '0')}"


def create_spec(
    name: str,
    *,
    width: float | None = None,
    resolution: int | None = None,
    resolution_multiplier: float | None = None,
    classes: int = 1000,
    background: bool = False,
    in_channels: int = 3,
    dropout: float | None = None,
    profile: Profile = "default",
    activation: Activation | None = None,
    padding: Padding | None = None,
    norm_eps: float | None = None,
    norm_momentum: float | None = None,
    output_stride: int | None = None,
    total_stride: int | None = None,
    reparam: int | bool | None = None,
    channels_per_input: int | None = None,
    layer_multiplier: float | None = None,
    fixed_stem_and_head: bool | None = None,
    fixed_stem: bool | None = None,
    se_divisor: int | None = None,
) -> Spec:
    """The Spec of a named architecture. Settings left at None keep the architecture's own value.

    Raises UserError on an unknown name, a value out of range, or a setting that the architecture does not have.

    >>> create_spec("mobilenet_v3_small_075").width
    0.75
    """
    architecture, named_width = parse_name(name)
    if width is not None and named_width is not None and width != named_width:
        raise UserError(f"width {width} contradicts the name {name!r}: give one of the two")
    own = {
        "channels_per_input": channels_per_input,
        "layer_multiplier": layer_multiplier,
        "fixed_stem_and_head": fixed_stem_and_head,
        "fixed_stem": fixed_stem,
        "se_divisor": se_divisor,
    }
    for setting, value in own.items():
        if value is not None and setting not in architecture.takes:
            takes = ", ".join(architecture.takes) or "none of its own"
            raise UserError(f"{architecture.name} has no setting {setting} ({value}); allowed: {takes}")
    chosen = check_width(width) if width is not None else named_width
    spec = architecture.build(
        width=1.0 if chosen is None else chosen,
        profile=profile,
        **{setting: value for setting, value in own.items() if value is not None},
    )
    spec = replace(spec, name=name_with_width(architecture.name, spec.width))
    if resolution is not None and resolution_multiplier is not None:
        raise UserError("resolution and resolution_multiplier contradict each other: give one of the two")
    if resolution is not None:
        spec = adapt.with_resolution(spec, resolution)
    if resolution_multiplier is not None:
        spec = adapt.with_resolution_multiplier(spec, resolution_multiplier)
    if in_channels != spec.in_channels:
        spec = adapt.with_in_channels(spec, in_channels)
    if activation is not None:
        spec = adapt.with_activation(spec, activation)
    if padding is not None:
        spec = adapt.with_padding(spec, padding)
    if norm_eps is not None or norm_momentum is not None:
        spec = adapt.with_norm(spec, eps=norm_eps, momentum=norm_momentum)
    if total_stride is not None:
        spec = adapt.with_total_stride(spec, total_stride)
    if output_stride is not None:
        spec = adapt.with_output_stride(spec, output_stride)
    if dropout is not None:
        spec = adapt.with_dropout(spec, dropout)
    if reparam is not None:
        spec = adapt.with_reparam(spec, reparam)
    return adapt.with_classes(spec, classes, background=background)
