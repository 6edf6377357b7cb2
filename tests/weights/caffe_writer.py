"""Writes Caffe networks byte by byte and evaluates them while it writes, without the reader or protobuf.

It knows BVLC/caffe's field numbers on its own: a wrong number in the reader's schema cannot cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def chunk(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(values: np.ndarray, legacy: bool = False, double: bool = False) -> bytes:
    """A BlobProto: data 5 (double_data 8); shape 7 with dim 1, or num 1, channels 2, height 3, width 4."""
    data = chunk(8, values.astype("<f8").tobytes()) if double else chunk(5, values.astype("<f4").tobytes())
    if legacy:
        shape = (1,) * (4 - values.ndim) + values.shape
        return b"".join(varint(number << 3) + varint(size) for number, size in enumerate(shape, 1)) + data
    return chunk(7, chunk(1, b"".join(varint(size) for size in values.shape))) + data


def caffemodel(layers: dict[str, list[bytes]]) -> bytes:
    """A NetParameter: name 1, layer 100; a LayerParameter: name 1, type 2, blobs 7."""
    stored = (
        chunk(100, chunk(1, name.encode()) + chunk(2, b"X") + b"".join(chunk(7, each) for each in blobs))
        for name, blobs in layers.items()
    )
    return chunk(1, b"net") + b"".join(stored)


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message as (number, payload), the other direction."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            size = number() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
            yield key >> 3, message[at : at + size]
            at += size


@dataclass
class Net:
    """Writes a network and evaluates it at once, in float64, by Caffe's definitions of its layers."""

    images: torch.Tensor
    legacy: bool = False
    double: bool = False
    text: list[str] = field(default_factory=list)
    stored: dict[str, list[bytes]] = field(default_factory=dict)
    values: dict[str, torch.Tensor] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self) -> None:
        n, c, h, w = self.images.shape
        self.values["data"] = self.images.double()
        self.text.append(f'name: "generated"\ninput: "data"\ninput_dim: {n}\n')
        self.text.append(f"input_dim: {c}\ninput_dim: {h}\ninput_dim: {w}\n")

    def layer(self, name: str, kind: str, bottoms: list[str], top: str, settings: str = "") -> None:
        ends = "".join(f'  bottom: "{bottom}"\n' for bottom in bottoms)
        self.text.append(f'layer {{\n  name: "{name}"\n  type: "{kind}"\n{ends}  top: "{top}"\n  {settings}\n}}\n')

    def store(self, name: str, *tensors: np.ndarray) -> list[torch.Tensor]:
        self.stored[name] = [blob(each, self.legacy, self.double) for each in tensors]
        return [torch.from_numpy(each.astype(np.float32)).double() for each in tensors]

    def conv(
        self, name: str, bottom: str, out: int, k: int = 1, stride: int = 1, group: int = 1, **more: object
    ) -> str:
        """`more`: `bias`, `kind`, `settings` (in place of kernel_size, stride and pad), `pad`, `dilation`."""
        x = self.values[bottom]
        weight = self.rng.normal(size=(out, x.shape[1] // group, k, k)) / (k * (x.shape[1] // group) ** 0.5)
        bias = [self.rng.normal(size=out)] if more.get("bias") else []
        pad, dilation = more.get("pad", k // 2), more.get("dilation", 1)
        stated = more.get("settings", f"kernel_size: {k} stride: {stride} pad: {pad}")
        stated = f"{stated} group: {group}" if more.get("group_stated", True) else stated
        text = f"num_output: {out} {stated} bias_term: {str(bool(bias)).lower()} engine: CAFFE"
        text += ' weight_filler { type: "msra" }'
        self.layer(
            name,
            str(more.get("kind", "Convolution")),
            [bottom],
            name,
            f"convolution_param {{ {text} }} param {{ lr_mult: 1 }}",
        )
        tensors = self.store(name, weight, *bias)
        self.values[name] = F.conv2d(x, *tensors, stride=stride, padding=pad, dilation=dilation, groups=group)
        return name

    def norm(self, name: str, blob_name: str, factor: float = 998.0, eps: float | None = 1e-3, top: str = "") -> str:
        """BatchNorm and Scale, in place unless `top` is given."""
        channels = self.values[blob_name].shape[1]
        mean, var = self.rng.normal(size=channels), self.rng.uniform(0.5, 2, channels)
        sums = self.store(name, mean * factor, var * factor, np.array([factor]))
        scale, offset = self.store(
            f"{name}/scale", self.rng.uniform(0.5, 1.5, channels), self.rng.normal(size=channels)
        )
        top = top or blob_name
        stated = "use_global_stats: true" + ("" if eps is None else f" eps: {eps}")
        self.layer(name, "BatchNorm", [blob_name], top, f"batch_norm_param {{ {stated} }}")
        self.layer(f"{name}/scale", "Scale", [top], top, "scale_param { bias_term: true }")
        divisor = sums[2] if factor else torch.tensor(float("inf"))
        mean_, var_ = (each / divisor for each in sums[:2])
        x = self.values[blob_name]
        self.values[top] = F.batch_norm(x, mean_, var_, scale, offset, False, 0.0, 1e-5 if eps is None else eps)
        return top

    def act(self, name: str, blob_name: str, kind: str = "ReLU", settings: str = "") -> str:
        self.layer(name, kind, [blob_name], blob_name, settings)
        x = self.values[blob_name]
        self.values[blob_name] = {"ReLU": x.relu(), "ReLU6": x.clamp(0, 6), "Sigmoid": x.sigmoid()}[kind]
        return blob_name

    def hard(self, blob_name: str, swish: bool = True) -> str:
        """Hard swish or hard sigmoid spelt out, as in jixing0415/caffe-mobilenet-v3."""
        shift, sixth, out = f"{blob_name}/shift", f"{blob_name}/sixth", f"{blob_name}/hswish"
        self.layer(shift, "Power", [blob_name], shift, "power_param { power: 1 scale: 1 shift: 3 }")
        self.layer(f"{shift}-relu", "ReLU6", [shift], shift)
        self.layer(sixth, "Power", [shift], sixth, "power_param { power: 1 scale: 0.1666666667 shift: 0 }")
        x = self.values[blob_name]
        self.values[sixth] = (x + 3).clamp(0, 6) / 6
        if not swish:
            return sixth
        self.layer(out, "Eltwise", [blob_name, sixth], out, "eltwise_param { operation: PROD }")
        self.values[out] = x * self.values[sixth]
        return out

    def squeeze(self, blob_name: str, reduced: int) -> str:
        """Squeeze-and-excite by two InnerProducts and a Scale with two bottoms over axis 0."""
        x = self.values[blob_name]
        pool, one, two, out = (f"{blob_name}/{part}" for part in ("pool", "fc1", "fc2", "scaled"))
        self.layer(pool, "Pooling", [blob_name], pool, "pooling_param { pool: AVE global_pooling: true }")
        self.values[pool] = x.mean((2, 3))
        for name, bottom, size in ((one, pool, reduced), (two, one, x.shape[1])):
            weight, bias = self.store(
                name, self.rng.normal(size=(size, self.values[bottom].shape[1])), self.rng.normal(size=size)
            )
            self.layer(name, "InnerProduct", [bottom], name, f"inner_product_param {{ num_output: {size} }}")
            self.values[name] = self.values[bottom] @ weight.T + bias
            if name == one:
                self.act(f"{one}/relu", one)
        gate = self.hard(two, swish=False)
        self.layer(out, "Scale", [blob_name, gate], out, "scale_param { axis: 0 }")
        self.values[out] = x * self.values[gate][:, :, None, None]
        return out

    def add(self, name: str, a: str, b: str) -> str:
        self.layer(name, "Eltwise", [a, b], name)
        self.values[name] = self.values[a] + self.values[b]
        return name

    def classify(self, blob_name: str, classes: int) -> str:
        self.layer("pool6", "Pooling", [blob_name], "pool6", "pooling_param { pool: AVE global_pooling: true }")
        self.values["pool6"] = self.values[blob_name].mean((2, 3), keepdim=True)
        self.conv("fc7", "pool6", classes, bias=True)
        self.layer("prob", "Softmax", ["fc7"], "prob")
        self.values["prob"] = self.values["fc7"].flatten(1).softmax(1)
        return "prob"

    def write(self, folder: Path) -> Path:
        (folder / "net.prototxt").write_text("".join(self.text))
        (folder / "net.caffemodel").write_bytes(caffemodel(self.stored))
        return folder / "net.prototxt"
