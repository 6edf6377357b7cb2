"""What a model file holds, whatever its format: operations over named values, with tensors in torch's layouts.

A reader of a graph format (TFLite, ONNX, Caffe, Keras, TF.js) only translates into these records; `recognise` then
reads the network out of them. Values are feature maps (N, C, H, W), whatever the file's own layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

Op = Literal["conv", "linear", "norm", "affine", "act", "add", "mul", "pool", "pad", "same", "softmax", "other"]
Pad = tuple[int, int, int, int]  # left, right, top, bottom


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operation.

    ========  ==========================================================================================================
    conv      `weight` (O, I / groups, kH, kW), `bias` (O,) or absent; `stride`, `pad`, `dilation`, `groups`
    linear    `weight` (O, I), `bias` (O,) or absent; over a pooled or flattened value
    norm      BatchNorm in evaluation mode: `mean`, `var`, and `scale`, `offset` or absent (1 and 0), (C,) each; `eps`
    affine    x * `scale` + `offset`, each (C,) or (1,), either may be absent (1 and 0): a constant multiplied or added
    act       `act`: relu, relu6, hard_swish, leaky_relu (`slope`), gelu, sigmoid, hard_sigmoid (x / 6 + 0.5 in 0...1)
    add, mul  of two values, elementwise or broadcast over height and width
    pool      the mean over height and width
    pad       zeros around height and width, `pad` as (left, right, top, bottom)
    same      the value as it is: identity, reshape, flatten, squeeze, dropout, a cast, (de)quantisation
    softmax   over the classes
    other     anything else; `kind` is the format's own name for it
    ========  ==========================================================================================================

    `pad` of a convolution is "same" (TensorFlow's rule, which depends on the input size) or explicit numbers; "valid"
    is (0, 0, 0, 0). `sources` are the file's own names of the tensors behind `weights`, each once.
    """

    op: Op
    name: str
    inputs: tuple[str, ...]
    output: str
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    stride: tuple[int, int] = (1, 1)
    pad: Literal["same"] | Pad = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    eps: float = 0.0
    act: str = ""
    slope: float = 0.0
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The operations of a file in the order in which they can be run.

    `tensors` names every weight tensor of the file; `set_aside` those among them that belong to no network, with the
    reason ("optimiser state", "step counter"). `height` and `width` are 0 where the file leaves them open.
    """

    nodes: tuple[Node, ...]
    input: str
    outputs: tuple[str, ...]
    channels: int
    height: int
    width: int
    tensors: tuple[str, ...]
    set_aside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What the network expects of a pixel x in 0...255, per channel in RGB order: (x - mean) / std.

    `stated` is true where the file itself says so; else it is the custom of where such files come from, named by
    `custom`. `bgr`: the network takes the channels in the order blue, green, red (Caffe).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    stated: bool
    custom: str = ""
    bgr: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model file of a graph format, read.

    `quantisation` is empty for floating point, else for example "uint8, per tensor" or "int8, per channel".
    `labels` are class names that the file states, in the order of its outputs. `files` are all that were read, where
    they are more than were named. `facts` are for a person, in order.
    """

    format: str
    graph: Graph
    normalisation: Normalisation | None = None
    quantisation: str = ""
    labels: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
