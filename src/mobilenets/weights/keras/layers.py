"""What a Keras layer is translated with: the call, its tensors, its activation, and the nodes so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError
from ..graph import Node, Op

Path = tuple[str, ...]
Size = tuple[int, int] | None  # height and width, 0 where unknown; None: (N, C)


class Stored(NamedTuple):
    """A tensor of the file: its name there, and its values in Keras' layout."""

    name: str
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LayerCall:
    """One use of a layer. `args` are names of values, and numbers where an operator takes a constant."""

    kind: str
    config: dict[str, Any]
    path: Path
    name: str
    args: tuple[Any, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the values among the arguments."""
        return tuple(each for each in self.args if isinstance(each, str))

    @property
    def constants(self) -> tuple[float, ...]:
        """The numbers among the arguments."""
        return tuple(float(each) for each in self.args if isinstance(each, int | float) and not isinstance(each, bool))


class Translator:
    """Appends nodes and keeps the size of each value.

    `set_aside` collects tensors that a layer stores and no network needs.
    """

    def __init__(
        self, weights: Callable[[Path], dict[str, Stored]], *, where: str, version: str, channels_first: bool
    ) -> None:
        self.weights, self.where, self.channels_first = weights, where, channels_first
        major = version.split(".")[0]
        self.keras_2 = not major.isdigit() or int(major) < 3  # TF.js calls itself "tfjs-layers 4.2" and is Keras 2
        self.nodes: list[Node] = []
        self.sizes: dict[str, Size] = {}
        self.set_aside: dict[str, str] = {}
        self.channels = 0

    def begin(self, name: str, shape: list[int | None]) -> str:
        """Takes the input's shape, (N, H, W, C) or (N, C, H, W) as the file has it; returns its value's name."""
        sides = [side or 0 for side in shape[1:]] or [0, 0, 0]
        if len(sides) != 3:
            raise UserError(f"{self.where}: an input of shape {shape}; allowed: images of height, width and channels")
        self.channels, height, width = sides if self.channels_first else (sides[2], sides[0], sides[1])
        self.sizes[name] = (height, width)
        return name

    def add(
        self, op: Op, call: LayerCall, size: Size, *, inputs: tuple[str, ...] = (), tag: str = "", **more: Any
    ) -> str:
        """Appends a node; `tag` tells several nodes of one layer apart. Returns its output."""
        output = call.name + (f"/{tag}" if tag else "")
        inputs = inputs or call.values[:1]
        self.nodes.append(Node(op=op, name=output, inputs=inputs, output=output, **more))
        self.sizes[output] = size
        return output

    def other(self, call: LayerCall, why: str = "") -> str:
        """Appends an operation that is none of a MobileNet's."""
        kind = f"{call.kind} {why}".strip()
        return self.add("other", call, (0, 0), inputs=call.values, kind=kind)

    def stored(self, call: LayerCall) -> dict[str, Stored]:
        """The layer's tensors by role."""
        return self.weights(call.path)

    def tensor(self, call: LayerCall, found: dict[str, Stored], role: str, *names: str) -> Stored:
        """The tensor of that role (or of the first of `names` found). Raises UserError where the file lacks it."""
        for name in (role, *names):
            if name in found:
                return found[name]
        raise UserError(f"{self.where}: the file lacks the {role} of the layer {'/'.join(call.path)!r}")

    def activate(self, call: LayerCall, value: str, activation: Any, tag: str = "activation") -> str:
        """`value` after the activation that a configuration names, in whatever form it does."""
        name, config = _activation_name(activation)
        if name in ("linear", ""):
            return value
        op, act, slope = "act", _ACTS.get(name, ""), 0.0
        if name == "leaky_relu":
            slope = float(config.get("negative_slope", config.get("alpha", 0.2)))
        if name in ("softmax", "log_softmax"):
            return self.add(
                "softmax" if name == "softmax" else "other", call, None, inputs=(value,), tag=tag, kind=name
            )
        if name == "relu" and config:
            act, slope = relu_form(config)
        if name == "hard_sigmoid" and self.keras_2:
            act = ""  # 0.2 x + 0.5, not x / 6 + 0.5
        if not act:
            op = "other"
        return self.add(op, call, self.sizes[value], inputs=(value,), tag=tag, act=act, slope=slope, kind=name)  # type: ignore[arg-type]


_ACTS = {
    "relu": "relu",
    "relu6": "relu6",
    "hard_swish": "hard_swish",
    "hard_silu": "hard_swish",
    "hard_sigmoid": "hard_sigmoid",
    "sigmoid": "sigmoid",
    "gelu": "gelu",
    "leaky_relu": "leaky_relu",
}
_ACTIVATION_CLASSES = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "Softmax": "softmax"}


def _activation_name(activation: Any) -> tuple[str, dict[str, Any]]:
    """The name and settings of an activation: a name, a function or a layer written as a dict."""
    if activation is None:
        return "linear", {}
    if isinstance(activation, str):
        return activation, {}
    config = activation.get("config")
    if isinstance(config, str):  # {"class_name": "function", "config": "relu6"}
        return config, {}
    kind = activation["class_name"]
    if kind == "Activation":
        return _activation_name(config["activation"])
    return _ACTIVATION_CLASSES.get(kind, kind), config or {}


def relu_form(config: dict[str, Any]) -> tuple[str, float]:
    """The activation and the slope of a ReLU layer's settings; an empty name where no network has such."""
    most, slope = config.get("max_value"), float(config.get("negative_slope") or 0.0)
    if config.get("threshold"):
        return "", 0.0
    if slope:
        return ("leaky_relu", slope) if most is None else ("", 0.0)
    return {None: "relu", 6.0: "relu6"}.get(most if most is None else float(most), ""), 0.0
