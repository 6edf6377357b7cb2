"""Writes TensorFlow.js models, topology and shards, and evaluates them in float64 as it goes, without the reader."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

RELUS = {"Relu": lambda x: x.relu(), "Relu6": lambda x: x.clamp(0, 6)}


def text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def integers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def shape(*sizes: int) -> dict[str, Any]:
    return {"dim": [{"size": str(size)} for size in sizes]}


def pad_same(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """TensorFlow's SAME: what is missing to whole windows, the larger part at the bottom and at the right."""
    height, width = (max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


@dataclass
class Weights:
    """A manifest and its bytes; `store` gives back what a reader must find, as TensorFlow.js computes it."""

    stored: str = "float32"
    entries: list[dict[str, Any]] = field(default_factory=list)
    content: bytes = b""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def store(self, name: str, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        entry: dict[str, Any] = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if values.dtype.kind == "i":
            entry["dtype"], raw, found = "int32", values.astype("<i4"), values.astype(np.int32)
        elif self.stored == "float16":
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            raw = values.astype("<f2")
            found = raw.astype(np.float32)
        elif self.stored in ("uint8", "uint16"):
            least, levels = float(values.min()), {"uint8": 255, "uint16": 65535}[self.stored]
            scale = (float(values.max()) - least) / levels or 1.0
            entry["quantization"] = {"dtype": self.stored, "scale": scale, "min": least, "original_dtype": "float32"}
            raw = np.round((values - least) / scale).astype({"uint8": "<u1", "uint16": "<u2"}[self.stored])
            found = np.array([value * scale + least for value in raw.reshape(-1).tolist()], np.float32)
            found = found.reshape(values.shape)
        else:
            raw = values.astype("<f4")
            found = raw.astype(np.float32)
        self.entries.append(entry)
        self.content += raw.tobytes()
        return found

    def write(self, folder: Path, shards: int = 1) -> list[dict[str, Any]]:
        """Writes the bytes in `shards` files, cut anywhere, and gives the manifest."""
        size = -(-len(self.content) // shards)
        names = [f"group1-shard{index + 1}of{shards}.bin" for index in range(shards)]
        for index, name in enumerate(names):
            (folder / name).write_bytes(self.content[index * size : (index + 1) * size])
        return [{"paths": names, "weights": self.entries}]


@dataclass
class GraphModel:
    """A graph model for images (N, H, W, 3)."""

    images: torch.Tensor  # (N, 3, H, W)
    weights: Weights = field(default_factory=Weights)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        c, h, w = self.images.shape[1:]
        self.node("image", "Placeholder", dtype={"type": "DT_FLOAT"}, shape={"shape": shape(-1, h, w, c)})
        self.values["image"] = self.images.double()

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        return name

    def const(self, name: str, values: Any, dtype: Any = np.float32) -> torch.Tensor:
        values = np.asarray(values, dtype)
        found = self.weights.store(name, values)
        kind = "DT_INT32" if values.dtype.kind == "i" else "DT_FLOAT"
        tensor = {"dtype": kind, "tensorShape": shape(*values.shape)}
        self.node(name, "Const", dtype={"type": kind}, value={"tensor": tensor})
        return torch.from_numpy(np.array(found)).double()

    def op(self, name: str, kind: str, *inputs: str, value: torch.Tensor, **attributes: Any) -> str:
        self.node(name, kind, *inputs, T={"type": "DT_FLOAT"}, **attributes)
        self.values[name] = value
        return name

    def conv(
        self,
        name: str,
        x: str,
        out: int,
        k: int = 1,
        stride: int = 1,
        *,
        fused: tuple[str, ...] = (),
        valid: bool = False,
    ) -> str:
        """A convolution; `out` 0 makes it depthwise."""
        channels = self.values[x].shape[1]
        depthwise = out == 0
        sizes = (k, k, channels, 1) if depthwise else (k, k, channels, out)
        kernel = self.const(
            f"{name}/kernel", self.weights.rng.normal(size=sizes) / (k * (1 if depthwise else channels**0.5))
        )
        weight = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        padded = self.values[x] if valid else pad_same(self.values[x], k, stride)
        y = F.conv2d(padded, weight, None, stride, groups=channels if depthwise else 1)
        inputs = [x, f"{name}/kernel"]
        attributes = {
            "strides": integers(1, stride, stride, 1),
            "dilations": integers(1, 1, 1, 1),
            "padding": {"s": text("VALID" if valid else "SAME")},
            "data_format": {"s": text("NHWC")},
        }
        kind = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        if fused:
            bias = self.const(f"{name}/bias", self.weights.rng.normal(size=y.shape[1]))
            inputs.append(f"{name}/bias")
            y = y + bias.view(1, -1, 1, 1)
            for each in fused[1:]:
                y = RELUS[each](y)
            attributes["num_args"] = {"i": "1"}
            attributes["fused_ops"] = {"list": {"s": [text(each) for each in fused]}}
            kind = "FusedDepthwiseConv2dNative" if depthwise else "_FusedConv2D"
        return self.op(name, kind, *inputs, value=y, **attributes)

    def norm(self, name: str, x: str) -> str:
        rng, channels = self.weights.rng, self.values[x].shape[1]
        roles = ("scale", "offset", "mean", "variance")
        found = [
            self.const(
                f"{name}/{role}",
                rng.normal(size=channels) if role in ("offset", "mean") else rng.uniform(0.5, 2, channels),
            )
            for role in roles
        ]
        y = F.batch_norm(self.values[x], found[2], found[3], found[0], found[1], False, 0.0, 1e-3)
        attributes = {"epsilon": {"f": 0.001}, "is_training": {"b": False}}
        return self.op(name, "FusedBatchNormV3", x, *(f"{name}/{role}" for role in roles), value=y, **attributes)

    def relu6(self, name: str, x: str) -> str:
        return self.op(name, "Relu6", x, value=self.values[x].clamp(0, 6))

    def pad(self, name: str, x: str, top: int, bottom: int, left: int, right: int) -> str:
        self.const(f"{name}/paddings", [[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        return self.op(name, "Pad", x, f"{name}/paddings", value=F.pad(self.values[x], (left, right, top, bottom)))

    def hard_sigmoid(self, name: str, x: str) -> str:
        """relu6(x + 3) * (1 / 6), with constants of its own."""
        three, sixth = self.const(f"{name}/three", 3.0), self.const(f"{name}/sixth", 1 / 6)
        y = self.values[x] + three
        self.op(f"{name}/add", "AddV2", x, f"{name}/three", value=y)
        self.relu6(f"{name}/relu6", f"{name}/add")
        return self.op(name, "Mul", f"{name}/relu6", f"{name}/sixth", value=y.clamp(0, 6) * sixth)

    def product(self, name: str, a: str, b: str) -> str:
        return self.op(name, "Mul", a, b, value=self.values[a] * self.values[b])

    def pool(self, name: str, x: str, keep: bool = True) -> str:
        self.const(f"{name}/axes", [1, 2], np.int32)
        value = self.values[x].mean((2, 3), keepdim=True)
        return self.op(name, "Mean", x, f"{name}/axes", value=value, keep_dims={"b": keep})

    def classify(self, x: str, classes: int) -> str:
        """Pooling, a fused matrix product, softmax."""
        pooled = self.pool("pool", x, keep=False)
        channels = self.values[x].shape[1]
        weight = self.const("logits/kernel", self.weights.rng.normal(size=(channels, classes)))
        bias = self.const("logits/bias", self.weights.rng.normal(size=classes))
        y = self.values[pooled].flatten(1) @ weight + bias
        fused = {"list": {"s": [text("BiasAdd")]}}
        inputs = ("pool", "logits/kernel", "logits/bias")
        self.op("logits", "_FusedMatMul", *inputs, value=y, fused_ops=fused, num_args={"i": "1"})
        self.op("softmax", "Softmax", "logits", value=y.softmax(1))
        return self.op("Identity", "Identity", "softmax", value=y.softmax(1))

    def write(self, folder: Path, shards: int = 1, **changes: Any) -> Path:
        model = {
            "format": "graph-model",
            "convertedBy": "a test",
            "modelTopology": {"node": self.nodes, "versions": {}},
            "weightsManifest": self.weights.write(folder, shards),
            **changes,
        }
        (folder / "model.json").write_text(json.dumps(model))
        return folder / "model.json"


@dataclass
class LayersModel:
    """A layers model: Keras 2's configuration as the converter of TensorFlow.js keeps it."""

    images: torch.Tensor  # (N, 3, H, W)
    weights: Weights = field(default_factory=Weights)
    layers: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        c, h, w = self.images.shape[1:]
        self.layer("image", "InputLayer", [], self.images.double(), batch_input_shape=[None, h, w, c], dtype="float32")

    def layer(self, name: str, kind: str, inputs: list[str], value: torch.Tensor, **config: Any) -> str:
        bound = [[[each, 0, 0, {}] for each in inputs]] if inputs else []
        entry = {"name": name, "class_name": kind, "config": {"name": name, "trainable": True, **config}}
        self.layers.append({**entry, "inbound_nodes": bound})
        self.values[name] = value
        return name

    def tensor(self, name: str, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(self.weights.store(name, values))).double()

    def conv(self, name: str, x: str, out: int, k: int = 1, stride: int = 1, *, padding: str = "same") -> str:
        channels = self.values[x].shape[1]
        depthwise = out == 0
        sizes = (k, k, channels, 1) if depthwise else (k, k, channels, out)
        role = "depthwise_kernel" if depthwise else "kernel"
        kernel = self.tensor(
            f"{name}/{role}", self.weights.rng.normal(size=sizes) / (k * (1 if depthwise else channels**0.5))
        )
        weight = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        padded = pad_same(self.values[x], k, stride) if padding == "same" else self.values[x]
        y = F.conv2d(padded, weight, None, stride, groups=channels if depthwise else 1)
        config = {"kernel_size": [k, k], "strides": [stride, stride], "padding": padding, "dilation_rate": [1, 1]}
        config |= {"use_bias": False, "activation": "linear", "data_format": "channels_last"}
        config |= {"depth_multiplier": 1} if depthwise else {"filters": out}
        return self.layer(name, "DepthwiseConv2D" if depthwise else "Conv2D", [x], y, **config)

    def norm(self, name: str, x: str) -> str:
        rng, channels = self.weights.rng, self.values[x].shape[1]
        gamma, variance = (
            self.tensor(f"{name}/{role}", rng.uniform(0.5, 2, channels)) for role in ("gamma", "moving_variance")
        )
        beta, mean = (self.tensor(f"{name}/{role}", rng.normal(size=channels)) for role in ("beta", "moving_mean"))
        y = F.batch_norm(self.values[x], mean, variance, gamma, beta, False, 0.0, 1e-3)
        return self.layer(name, "BatchNormalization", [x], y, axis=-1, epsilon=0.001, scale=True, center=True)

    def relu6(self, name: str, x: str) -> str:
        return self.layer(name, "ReLU", [x], self.values[x].clamp(0, 6), max_value=6)

    def pad(self, name: str, x: str) -> str:
        """Keras' way to stride 2: one row at the bottom, one column at the right."""
        value = F.pad(self.values[x], (0, 1, 0, 1))
        return self.layer(name, "ZeroPadding2D", [x], value, padding=[[0, 1], [0, 1]], data_format="channels_last")

    def classify(self, x: str, classes: int) -> str:
        pooled = self.values[x].mean((2, 3))
        self.layer("pool", "GlobalAveragePooling2D", [x], pooled, data_format="channels_last")
        kernel = self.tensor("logits/kernel", self.weights.rng.normal(size=(pooled.shape[1], classes)) / 9)
        bias = self.tensor("logits/bias", self.weights.rng.normal(size=classes))
        y = (pooled @ kernel + bias).softmax(1)
        return self.layer("logits", "Dense", ["pool"], y, units=classes, activation="softmax", use_bias=True)

    def write(self, folder: Path, shards: int = 1, *, nested: bool = False, version: str = "2.3.1") -> Path:
        """`nested` puts the whole model as one layer, "net", into another."""
        last = self.layers[-1]["name"]
        config = {
            "name": "net",
            "layers": self.layers,
            "input_layers": [["image", 0, 0]],
            "output_layers": [[last, 0, 0]],
        }
        if nested:
            start = {**self.layers[0], "name": "start", "config": {**self.layers[0]["config"], "name": "start"}}
            inner = {"class_name": "Model", "name": "net", "config": config, "inbound_nodes": [[["start", 0, 0, {}]]]}
            ends = {"input_layers": [["start", 0, 0]], "output_layers": [["net", 1, 0]]}
            config = {"name": "outer", "layers": [start, inner], **ends}
        model = {
            "format": "layers-model",
            "generatedBy": "keras v2.3.1",
            "convertedBy": "a test",
            "modelTopology": {
                "keras_version": version,
                "backend": "tensorflow",
                "model_config": {"class_name": "Model", "config": config},
            },
            "weightsManifest": self.weights.write(folder, shards),
        }
        (folder / "model.json").write_text(json.dumps(model))
        return folder / "model.json"
