"""Evaluates a Core ML package operation by operation in float32: what its graph says, where Core ML does not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mobilenets.deploy.runtimes.coreml import read_spec


def evaluate_package(path: Path, images: np.ndarray) -> dict[str, Any]:
    """uint8 RGB (N, R, R, 3) -> `logits` and `scores`, float32 (N, C), and the `classes`."""
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = read_spec(path)
    program = load(spec, spec.specificationVersion, str(path / "Data/com.apple.CoreML/weights"))
    rows = [_one(program.functions["main"], image) for image in images]
    found: dict[str, Any] = {name: torch.cat([row[name] for row in rows]).numpy() for name in ("logits", "scores")}
    return found | {"classes": rows[0]["classes"]}


def _one(main: Any, image: np.ndarray) -> dict[str, Any]:
    values: dict[str, Any] = {"image": torch.from_numpy(image).permute(2, 0, 1)[None].float()}
    classes: list[str] = []
    for operation in main.operations:
        kind = operation.op_type
        if kind == "const":
            continue
        inputs = {name: _value(var, values) for name, var in operation.inputs.items() if var is not None}
        if kind.startswith("constexpr_"):
            values[operation.outputs[0].name] = _tensor(operation.materialized_val_inference())
        elif kind == "classify":
            classes = [str(label) for label in inputs["classes"]]
        else:
            values[operation.outputs[0].name] = _compute(kind, inputs)
    return values | {"classes": classes}


def _value(var: Any, values: dict[str, Any]) -> Any:
    if isinstance(var, list | tuple):
        return [_value(each, values) for each in var]
    if var.name in values:
        return values[var.name]
    return var.val


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value, np.float32))


def _compute(kind: str, given: dict[str, Any]) -> Tensor:
    x = _tensor(given["x"])
    if kind == "conv":
        return _conv(x, given)
    if kind in ("add", "sub", "mul", "real_div"):
        y = _tensor(given["y"])
        return {"add": x + y, "sub": x - y, "mul": x * y, "real_div": x / y}[kind]
    if kind == "linear":
        return F.linear(x, _tensor(given["weight"]), _tensor(given["bias"]))
    if kind == "matmul":
        y = _tensor(given["y"])
        x = x.mT if given["transpose_x"] else x
        return x @ (y.mT if given["transpose_y"] else y)
    if kind == "batch_norm":
        names = ("mean", "variance", "gamma", "beta")
        return F.batch_norm(x, *(_tensor(given[name]) for name in names), eps=float(given["epsilon"]))
    if kind == "reduce_mean":
        return x.mean([int(axis) for axis in given["axes"]], keepdim=bool(given["keep_dims"]))
    if kind == "pad":
        assert given["mode"] == "constant"
        before_after = np.asarray(given["pad"]).reshape(-1, 2)[::-1].reshape(-1)
        return F.pad(x, [int(side) for side in before_after], value=float(given["constant_val"]))
    if kind in ("reshape", "transpose", "expand_dims", "squeeze", "tile", "softmax"):
        return _reshaped(kind, x, given)
    return _activation(kind, x, given)


def _conv(x: Tensor, given: dict[str, Any]) -> Tensor:
    pads = [int(side) for side in given["pad"]]
    if given["pad_type"] == "valid":
        pads = [0, 0, 0, 0]
    else:
        assert given["pad_type"] == "custom"
    x = F.pad(x, (pads[2], pads[3], pads[0], pads[1]))
    bias = given.get("bias")
    strides, dilations = ([int(n) for n in given[name]] for name in ("strides", "dilations"))
    return F.conv2d(
        x,
        _tensor(given["weight"]),
        None if bias is None else _tensor(bias),
        strides,
        0,
        dilations,
        int(given["groups"]),
    )


def _reshaped(kind: str, x: Tensor, given: dict[str, Any]) -> Tensor:
    if kind == "reshape":
        return x.reshape([int(side) for side in given["shape"]])
    if kind == "transpose":
        return x.permute([int(axis) for axis in given["perm"]])
    if kind == "tile":
        return x.tile([int(count) for count in given["reps"]])
    if kind == "softmax":
        return x.softmax(int(given["axis"]))
    for axis in sorted(int(axis) for axis in given["axes"]):
        x = x.unsqueeze(axis) if kind == "expand_dims" else x.squeeze(axis)
    return x


def _activation(kind: str, x: Tensor, given: dict[str, Any]) -> Tensor:
    if kind == "thresholded_relu":
        return torch.where(x >= float(given["alpha"]), x, torch.zeros_like(x))
    if kind == "sigmoid_hard":
        return (x * float(given["alpha"]) + float(given["beta"])).clamp(0, 1)
    if kind == "clip":
        return x.clamp(float(given["alpha"]), float(given["beta"]))
    return {"relu": x.relu, "relu6": lambda: x.clamp(0, 6), "sigmoid": x.sigmoid, "cast": x.float}[kind]()
