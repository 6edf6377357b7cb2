"""ONNX files, run by onnxruntime."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...errors import UserError
from . import FLOAT16, FLOAT32, INT8, WEIGHTS8, Runtime, one_line, require
from .onnx_ran import ran
from .qdq import for_onnxruntime_
from .weight_only import hold_integers_

if TYPE_CHECKING:
    from . import Shippable

FILE = "model.onnx"
OPSET = 18  # the exporter's own; every operator of the family exists in it, and older runtimes read it


def write(
    module: Shippable, folder: Path, precision: str, properties: Mapping[str, str]
) -> tuple[Path, dict[str, Any]]:
    """Writes `folder`/model.onnx: one file, dynamic batch, the same bytes each time. Returns its path and its facts."""
    require("onnx", "onnx", "onnxscript")
    import onnx

    model = onnx_model(_half(module) if precision == FLOAT16 else module)
    if precision == INT8:
        for_onnxruntime_(model)
    if precision == WEIGHTS8:
        hold_integers_(model)
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    onnx.checker.check_model(model, full_check=True)
    path = folder / FILE
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path, {"opset": OPSET, "ir_version": model.ir_version}


def _half(module: Any) -> Any:
    """The float network computing in float16 between its uint8 input, less the mean, and its float32 logits."""
    import torch

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spec, self.mean = module.spec, module.mean
            self.scale = None if module.scale is None else module.scale.half()
            self.network = copy.deepcopy(module.network).half()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = (image.permute(0, 3, 1, 2).float() - self.mean).half()
            return self.network(x if self.scale is None else x * self.scale).float()

    return Half().eval()


def stored(path: Path) -> dict[str, int]:
    """The numbers in the file's weights (tensors with two dimensions or more above 1) by type."""
    (onnx,) = require("onnx", "onnx")
    kinds = onnx.TensorProto
    names = {kinds.FLOAT: FLOAT32, kinds.FLOAT16: FLOAT16, kinds.INT8: INT8, kinds.UINT8: INT8}
    counts: dict[str, int] = {}
    for tensor in onnx.load(path).graph.initializer:
        if tensor.data_type in names and sum(side > 1 for side in tensor.dims) >= 2:
            name = names[tensor.data_type]
            counts[name] = counts.get(name, 0) + math.prod(tensor.dims)
    return counts


def onnx_model(module: Shippable) -> Any:
    """The module as an ONNX model (a protocol buffer), dynamic batch, without traces of the machine."""
    import torch

    size = module.spec.resolution
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with _silence(), torch.no_grad():
        program = torch.export.export(
            module, (example,), dynamic_shapes={"image": {0: torch.export.Dim.DYNAMIC}}, strict=False
        )
        _pool_by_mean_(program.graph_module)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            optimize=True,
            verbose=False,
        )
        assert exported is not None
        model = exported.model_proto
    _clean_(model, module.spec.name)
    return model


def _pool_by_mean_(graph_module: Any) -> None:
    """Global pooling as a plain mean: the exporter's own way goes over as_strided, ten nodes for each pooling."""
    from torch import ops

    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target is ops.aten.adaptive_avg_pool2d.default:
            node.target = ops.aten.mean.dim
            node.args = (node.args[0], [2, 3], True)
    graph_module.recompile()


def _clean_(model: Any, name: str) -> None:
    """Leaves the graph alone: no traces of the machine that exported it, pooling as the operator runtimes know best."""
    import onnx

    graph = model.graph
    constants = {
        i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer if i.data_type == onnx.TensorProto.INT64
    }
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        axes = constants.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        if axes is not None and sorted(axes.tolist()) == [2, 3]:
            # onnxruntime keeps its blocked memory layout through this operator, but not through ReduceMean
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    kept = [i for i in graph.initializer if i.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.doc_string = ""
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    for info in (*graph.input, *graph.output):
        info.type.tensor_type.shape.dim[0].dim_param = "N"
    graph.name, graph.doc_string, model.doc_string = name, "", ""
    model.producer_name, model.producer_version = "mobilenets", __version__


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps the exporter's chatter away: warnings about its own internals and about torchvision's absence."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


class OnnxSession:
    """A model file in onnxruntime on the CPU."""

    def __init__(self, path: Path, threads: int | None) -> None:
        (ort,) = require("onnx", "onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        try:
            self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime's errors have no class of their own to catch
            if not path.is_file():
                raise UserError(f"{path}: no such file") from None
            raise UserError(f"{path}: not a model that onnxruntime opens ({one_line(error)})") from None
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        found = [(value.name, value.type, len(value.shape)) for value in (*inputs, *outputs)]
        wanted = [("image", "tensor(uint8)", 4), ("logits", "tensor(float)", 2)]
        if found != wanted:
            raise UserError(
                f"{path}: takes and gives {_values(found)}; a bundle's file takes and gives {_values(wanted)}"
            )

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        logits: np.ndarray = self.session.run(["logits"], {"image": np.ascontiguousarray(images)})[0]
        return logits


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """The source of a program that predicts with the file at `path`, relative to the bundle."""
    from ...arch.spec import Spec
    from ..example import python_example

    name = "example_onnx.py"
    source = python_example(
        Spec.from_json(manifest["spec"]).preprocessing,
        name=name,
        package="onnxruntime",
        imports="import onnxruntime",
        setup=f'session = onnxruntime.InferenceSession(HERE / "{path}", providers=["CPUExecutionProvider"])',
        run='session.run(["logits"], {"image": image[None]})[0][0]',
    )
    return {name: source}


def _values(rows: list[tuple[str, str, int]]) -> str:
    return ", ".join(f"{name} {kind} of {rank} dimensions" for name, kind, rank in rows)


ONNX = Runtime(
    name="onnx",
    extra="onnx",
    precisions=(FLOAT32, FLOAT16, WEIGHTS8, INT8),
    packages=("onnx", "onnxscript", "onnxruntime"),
    writes_with=("onnx", "onnxscript"),
    runs_with=("onnxruntime",),
    write=write,
    open=OnnxSession,
    examples=examples,
    stored=stored,
    ran=ran,
    slow_int8="hard-swish and small layers take it several passes; openvino or litert may be faster",
)
