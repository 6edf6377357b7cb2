"""Files of networks that differ from one in their channels alone, for measuring: made without a new export where the
runtime's file comes from an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...arch.spec import Spec
from ...nn.network import Network, build_network
from ..runtimes import FLOAT32, Runtime, require
from ..wrap import Shipped, fold_


class Variants:
    """Writes float32 files of one runtime for the Spec of `network` and others; weights are what there is, or noise.

    An export takes seconds to tens of seconds. Where the runtime reads ONNX (onnx, openvino) it is done once, and
    another width is the same graph with smaller tensors.
    """

    def __init__(self, runtime: Runtime, network: Network, folder: Path) -> None:
        self.runtime, self.base, self.folder = runtime, network.spec, folder
        self.count = 0
        self._model: Any = None
        if runtime.name in ("onnx", "openvino"):
            from ..runtimes.onnx import onnx_model

            require("onnx", "onnx", "onnxscript")
            shipped: Any = Shipped(network)
            self._model = onnx_model(shipped)

    def write(self, spec: Spec) -> Path:
        """The file of `spec`, in a folder of its own."""
        if self._model is not None and _same_layers(self.base, spec):
            return self._with_shapes(spec, self._new_folder())
        return self.export(self._random(spec))

    def export(self, network: Network) -> Path:
        """The file of `network`, exported as a Bundle's is."""
        path, _ = self.runtime.write(Shipped(network), self._new_folder(), FLOAT32, {})
        return path

    def _new_folder(self) -> Path:
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        return folder

    def _random(self, spec: Spec) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build_network(spec)

    def _with_shapes(self, spec: Spec, folder: Path) -> Path:
        """The base's graph with tensors of the shapes that `spec` has."""
        (onnx,) = require("onnx", "onnx")
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        shapes = {f"network.{name}": shape for name, shape in _folded_shapes(spec).items()}
        del model.graph.value_info[:]
        for tensor in model.graph.initializer:
            shape = shapes.get(tensor.name)
            if shape is not None and tuple(tensor.dims) != shape:
                values = onnx.numpy_helper.to_array(tensor)
                cut = np.ascontiguousarray(values[tuple(slice(size) for size in shape)])
                tensor.CopyFrom(onnx.numpy_helper.from_array(cut, tensor.name))
            elif tensor.data_type == onnx.TensorProto.INT64 and self.base.head.c_embedding in (
                values := onnx.numpy_helper.to_array(tensor).ravel().tolist()
            ):  # the shape that pooled values are brought to
                flat = [spec.head.c_embedding if value == self.base.head.c_embedding else value for value in values]
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(np.array(flat, np.int64).reshape(tensor.dims), tensor.name)
                )
        for node in model.graph.node:
            shape = shapes.get(node.input[1]) if node.op_type == "Conv" else None
            for attribute in node.attribute:
                if shape is not None and attribute.name == "group" and attribute.i > 1:
                    attribute.i = shape[0]  # depthwise
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        if self.runtime.name == "onnx":
            return path
        (openvino,) = require("openvino", "openvino")
        from ..runtimes.openvino import describe_

        converted = openvino.convert_model(path)
        describe_(converted, FLOAT32, {})
        openvino.save_model(converted, folder / "model.xml", compress_to_fp16=False)
        return folder / "model.xml"


def _same_layers(base: Spec, spec: Spec) -> bool:
    """Whether both have the same layers, the one no wider than the other."""
    with_shapes, other = _folded_shapes(base), _folded_shapes(spec)
    return with_shapes.keys() == other.keys() and all(
        len(shape) == len(other[name]) and all(a >= b for a, b in zip(shape, other[name]))
        for name, shape in with_shapes.items()
    )


def _folded_shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a network whose BatchNorm is folded in."""
    with torch.device("meta"):
        network = build_network(spec)
    return {name: tuple(value.shape) for name, value in fold_(network.eval()).state_dict().items()}
