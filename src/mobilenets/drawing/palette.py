"""Colours and words for what a drawing shows. Words tell the kinds apart as well: no colour carries meaning alone."""

from __future__ import annotations

PAPER, INK, QUIET, FAINT, BAND = "#ffffff", "#1f2933", "#5f6b76", "#c3cbd3", "#f4f6f8"
FLOW, RESIDUAL = "#5f6b76", "#1f2933"
MACS, ATTENTION, PARAMS, MEMORY, PEAK = "#5b84b1", "#a5528a", "#7d8f69", "#d9a441", "#c0392b"

# What a block or an operation is: the word on its box, and its strong colour. Order is the legend's.
KINDS: dict[str, tuple[str, str]] = {
    "conv": ("conv", "#4472b0"),
    "separable": ("separable", "#dd8a2e"),
    "inverted": ("inverted", "#3f9a6b"),
    "fused": ("fused", "#8a6bb8"),
    "extra_dw": ("ExtraDW", "#1f8f94"),
    "ib": ("IB", "#3f9a6b"),
    "convnext": ("ConvNext", "#cf6a4b"),
    "ffn": ("FFN", "#8c7a5b"),
    "attention": ("MQA", "#a5528a"),
    "head": ("head", "#5f6b76"),
    "depthwise": ("depthwise", "#dd8a2e"),
    "pointwise": ("1×1 conv", "#3f9a6b"),
    "linear": ("linear", "#5f6b76"),
    "norm": ("BatchNorm", "#7a8794"),
    "pool": ("pool", "#7a8794"),
    "scale": ("scale", "#8a6bb8"),
    "add": ("sum", "#1f2933"),
}
MEANING: dict[str, str] = {  # of the blocks, in the legend
    "conv": "standard convolution",
    "separable": "depthwise separable",
    "inverted": "inverted residual",
    "fused": "fused inverted bottleneck",
    "extra_dw": "UIB with two depthwise layers",
    "ib": "UIB, inverted bottleneck",
    "convnext": "UIB, depthwise first",
    "ffn": "UIB without depthwise",
    "attention": "mobile multi-query attention",
    "head": "pooling and classifier",
}
ACTIVATIONS: dict[str, tuple[str, str]] = {
    "relu": ("ReLU", "#d1495b"),
    "relu6": ("ReLU6", "#c2307a"),
    "hard_swish": ("hard-swish", "#2d6cc0"),
    "leaky_relu": ("leaky ReLU", "#e09f3e"),
    "gelu": ("GELU", "#6a4c93"),
    "hard_sigmoid": ("hard sigmoid", "#3f8f5f"),
    "sigmoid": ("sigmoid", "#9a7d0a"),
}


def tint(colour: str, strength: float = 0.16) -> str:
    """The colour over white paper, `strength` of it (0…1).

    >>> tint("#000000", 0.2)
    '#cccccc'
    """
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02x}" for part in parts)
