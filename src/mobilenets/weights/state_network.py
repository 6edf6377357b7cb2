"""A Spec fitted to a file of tensors, and what it was taken for: such files state no padding, epsilon or pictures."""

from __future__ import annotations

from dataclasses import replace

from ..arch.adapt import with_classes, with_in_channels
from ..arch.spec import Preprocessing, Spec
from .names import Shape

BACKGROUND_OUTPUTS = 1001  # ImageNet's classes and TensorFlow's background in front of them

_INTERPOLATIONS = {"area_linear": "area", "bilinear": "bilinear", "bicubic": "bicubic"}


def with_ends(spec: Spec, classifier: Shape, stem: Shape) -> Spec:
    """`spec` with the number of classes and input channels of these weights; an empty shape is an absent classifier."""
    outputs = classifier[0] if classifier else 0
    background = outputs == BACKGROUND_OUTPUTS
    spec = with_classes(spec, outputs - background, background=background)
    return with_in_channels(spec, stem[1]) if len(stem) == 4 and stem[1] else spec


def with_preprocessing(spec: Spec, preprocessing: Preprocessing) -> Spec:
    """`spec` with that preprocessing; with other input channels than it has means, those are repeated or left out."""
    mean, std = (
        tuple(values[channel % len(values)] for channel in range(spec.in_channels))
        for values in (preprocessing.mean, preprocessing.std)
    )
    return replace(spec, preprocessing=replace(preprocessing, mean=mean, std=std))


def network_facts(spec: Spec, network: str, conventions: str, pictures: str) -> dict[str, str]:
    """The facts of a `Recognised`; each argument says where that part is known from."""
    pre, head = spec.preprocessing, spec.head
    layers = "TensorFlow's SAME" if spec.padding == "same" else "symmetric"
    cut = "squashed to the square" if pre.resize == "squash" else f"centre {pre.crop_fraction:.4g} of the short side"
    outputs = f"{head.classes}" if head.classes else "none: the network returns its embedding"
    if head.background:
        outputs += f" and a background in front, as in ImageNet's {head.outputs} outputs"
    channels = "" if spec.in_channels == 3 else f", {spec.in_channels} channels"
    return {
        "architecture": f"{spec.name}, generation {spec.generation}, width {spec.width:g} ({network})",
        "resolution": f"{pre.resolution}{channels} ({pictures})",
        "classes": outputs,
        "padding": f"{layers} ({conventions})",
        "BatchNorm": f"epsilon {spec.norm.eps:g} ({conventions})",
        "normalisation": f"(x - {_numbers(pre.mean)}) / {_numbers(pre.std)}, {pictures}",
        "crop": f"{cut}, {_INTERPOLATIONS[pre.interpolation]}, {pictures}",
    }


def _numbers(values: tuple[float, ...]) -> str:
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"
