"""A Spec as a Keras model, layer by layer, with the layer names of keras.applications where the network is theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arch.spec import Block, Head, Spec
from ...errors import UserError
from ..recognise.match import parts
from .layouts import to_keras
from .names import Entry, entries, stem_of, style_of
from .runtime import import_keras

_HALF = 127.5
_LAST = "channels_last"
_PAD_NAMES = {1: "conv_pad_{index}", 2: "{stem}pad", 3: "{stem}depthwise_pad"}
_NORM = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, moving_mean, moving_variance


def rescales(spec: Spec) -> bool:
    """Whether the model takes raw pixels: V3 at (x - 127.5) / 127.5, as in keras.applications. Others take floats."""
    pre = spec.preprocessing
    return style_of(spec) == 3 and {*pre.mean, *pre.std} == {_HALF}


def keras_model(spec: Spec, state: dict[str, np.ndarray]) -> Any:
    """The functional model with its weights: (N, H, W, C) float32 to probabilities, or to the pooled features.

    Raises UserError for what Keras has no layer of: attention, layer scale.
    """
    for what, found in (
        ("attention", [block.kind == "attention" for block in spec.blocks]),
        ("a layer scale", [block.layer_scale > 0 for block in spec.blocks]),
    ):
        if any(found):
            raise UserError(
                f"{spec.name} cannot become a Keras file: Keras has no layer for {what} (block {found.index(True)})"
            )
    return _Builder(spec, state).model()


class _Builder:
    """Chains the layers; weights are set as each layer is made."""

    def __init__(self, spec: Spec, state: dict[str, np.ndarray]) -> None:
        self.spec, self.state = spec, state
        self.keras = import_keras()
        self.style = style_of(spec)
        self.entries: dict[str, Entry] = {entry.key: entry for entry in entries(spec)}

    def model(self) -> Any:
        """The model, named as keras.applications names its own."""
        side = self.spec.resolution
        start = x = self.keras.Input((side, side, self.spec.in_channels))
        if rescales(self.spec):
            x = self.keras.layers.Rescaling(1 / _HALF, -1.0)(x)
        for index, block in enumerate(self.spec.blocks):
            x = self._block(x, index, block)
        return self.keras.Model(start, self._head(x, self.spec.head), name=self.spec.name)

    def _block(self, x: Any, index: int, block: Block) -> Any:
        y, names = x, parts(block)
        for part, kernel, c_in, _, groups in names:
            last = part == names[-1][0]
            if block.c_se and last:
                y = self._squeeze_excite(y, index)
            act = "identity" if part == "depthwise_start" or (last and block.linear) else block.act
            y = self._conv(y, index, block, part, kernel, c_in if groups > 1 else 0)
            y = self._activation(y, act)
        return self.keras.layers.Add(name=f"{stem_of(self.style, index)}add")([x, y]) if block.residual else y

    def _conv(self, x: Any, index: int, block: Block, part: str, kernel: int, depthwise_channels: int) -> Any:
        """A convolution with its padding and its BatchNorm."""
        layers, key = self.keras.layers, f"blocks.{index}.{part}"
        entry = self.entries[f"{key}.conv"]
        strided = part == block.strided
        stride, dilation = block.stride if strided else 1, block.dilation if kernel > 1 else 1
        pad = _explicit_pad(self.spec.padding, block.pad if strided else None, kernel, stride, dilation)
        if pad is not None and any(pad):
            left, right, top, bottom = pad
            name = _PAD_NAMES.get(self.style, "{stem}{part}_pad") if index else "{stem}conv_pad"
            name = name.format(index=index, stem=stem_of(self.style, index), part=part)
            x = layers.ZeroPadding2D(((top, bottom), (left, right)), data_format=_LAST, name=name)(x)
        settings: dict[str, Any] = {
            "strides": stride,
            "dilation_rate": dilation,
            "padding": "same" if pad is None else "valid",
            "use_bias": entry.bias,
            "data_format": _LAST,
            "name": entry.name,
        }
        weight = self.state[f"{entry.key}.weight"]
        if depthwise_channels:
            layer = layers.DepthwiseConv2D(kernel, depth_multiplier=weight.shape[0] // depthwise_channels, **settings)
        else:
            layer = layers.Conv2D(weight.shape[0], kernel, **settings)
        return self._norm(self._with_weights(layer, x, entry, depthwise_channels), f"{key}.norm")

    def _with_weights(self, layer: Any, x: Any, entry: Entry, channels: int = 1) -> Any:
        """The layer's output for `x`, its kernel and bias set."""
        y = layer(x)
        kernel = to_keras(entry.kind, self.state[f"{entry.key}.weight"], channels)
        layer.set_weights([kernel, self.state[f"{entry.key}.bias"]] if entry.bias else [kernel])
        return y

    def _norm(self, x: Any, key: str) -> Any:
        if key not in self.entries:
            return x
        norm = self.spec.norm
        layer = self.keras.layers.BatchNormalization(
            axis=-1, epsilon=norm.eps, momentum=1 - norm.momentum, name=self.entries[key].name
        )
        y = layer(x)
        layer.set_weights([self.state[f"{key}.{part}"] for part in _NORM])
        return y

    def _squeeze_excite(self, x: Any, index: int) -> Any:
        layers, key = self.keras.layers, f"blocks.{index}.se"
        y = layers.GlobalAveragePooling2D(keepdims=True, data_format=_LAST)(x)
        y = self._pointwise(y, self.entries[f"{key}.reduce"])
        y = self._activation(y, self.spec.se_act)
        y = self._pointwise(y, self.entries[f"{key}.expand"])
        y = layers.Activation(self.spec.se_gate)(y)
        return layers.Multiply(name=f"{stem_of(self.style, index)}squeeze_excite_mul")([x, y])

    def _pointwise(self, x: Any, entry: Entry) -> Any:
        outputs = self.state[f"{entry.key}.weight"].shape[0]
        layer = self.keras.layers.Conv2D(outputs, 1, use_bias=entry.bias, data_format=_LAST, name=entry.name)
        return self._with_weights(layer, x, entry)

    def _activation(self, x: Any, act: str) -> Any:
        layers = self.keras.layers
        if act == "identity":
            return x
        if act in ("relu", "relu6"):
            return layers.ReLU(6.0 if act == "relu6" else None)(x)
        return (layers.LeakyReLU(0.01) if act == "leaky_relu" else layers.Activation(act))(x)

    def _head(self, x: Any, head: Head) -> Any:
        """Pooling, hidden layer, classifier and softmax; without a classifier the pooled features."""
        layers = self.keras.layers
        maps = bool(head.c_hidden) or self.style in (1, 3)
        x = layers.GlobalAveragePooling2D(keepdims=maps, data_format=_LAST)(x)
        if head.c_hidden:
            x = self._norm(self._pointwise(x, self.entries["head.hidden.conv"]), "head.hidden.norm")
            x = self._activation(x, head.act)
        if not head.classes:
            return layers.Flatten(data_format=_LAST)(x) if maps else x
        if head.dropout:
            x = layers.Dropout(head.dropout)(x)
        entry = self.entries["head.classifier"]
        if entry.kind == "Conv2D":
            x = layers.Flatten(data_format=_LAST)(self._pointwise(x, entry))
            return layers.Activation("softmax", name="predictions")(x)
        x = layers.Flatten(data_format=_LAST)(x) if maps else x
        layer = layers.Dense(head.outputs, activation="softmax", use_bias=entry.bias, name=entry.name)
        return self._with_weights(layer, x, entry)


def _explicit_pad(
    padding: str, pad: tuple[int, int, int, int] | None, kernel: int, stride: int, dilation: int
) -> tuple[int, int, int, int] | None:
    """Zeros around the map as (left, right, top, bottom); None where Keras' own "same" gives them."""
    reach = (kernel - 1) * dilation
    if pad is not None:
        return pad
    if padding == "same" or (stride == 1 and reach % 2 == 0):
        return None
    return (reach // 2,) * 4
