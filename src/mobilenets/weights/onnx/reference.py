"""An ONNX file in onnxruntime, with the value before the last softmax as its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..graph import Graph, Normalisation, Source
from .files import channels_last, load_model, one_line, require_onnx, shapes

Reference = Callable[[np.ndarray], np.ndarray]
_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


def open_reference(path: Path, source: Source) -> Reference | None:
    """What onnxruntime makes of uint8 pictures (N, H, W, 3): float32 (N, outputs), before the last softmax.

    None where onnxruntime is not installed or the file's input is neither bytes nor floating point. Pictures are
    normalised by `source.normalisation` where the file takes floating point. Raises UserError where it does not run.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    onnx = require_onnx()
    graph = source.graph
    assert graph is not None
    model = load_model(path)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    wanted = _before_softmax(graph)
    if wanted not in {output.name for output in model.graph.output}:
        model.graph.output.append(onnx.ValueInfoProto(name=wanted))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class of their own to catch
        raise UserError(f"{path}: onnxruntime does not open it ({one_line(error)})") from None
    given = next(each for each in session.get_inputs() if each.name == graph.input)
    if given.type not in _DTYPES:
        return None
    last = channels_last(model, graph.input, shapes(model).get(graph.input))
    prepare = _preparation(given.type, last, source.normalisation)
    batch = given.shape[0] if isinstance(given.shape[0], int) and given.shape[0] > 0 else 0

    def run(images: np.ndarray) -> np.ndarray:
        step = batch or max(len(images), 1)
        rows = []
        try:
            for at in range(0, len(images), step):
                part = prepare(images[at : at + step])
                filled = part[np.arange(step) % len(part)] if batch else part  # a fixed batch is filled up by repeating
                values = session.run([wanted], {graph.input: filled})[0]
                rows.append(np.asarray(values, np.float32).reshape(len(filled), -1)[: len(part)])
        except Exception as error:  # as above
            raise UserError(f"{path}: onnxruntime does not run it ({one_line(error)})") from None
        return np.concatenate(rows)

    return run


def _preparation(kind: str, last: bool, normalisation: Normalisation | None) -> Callable[[np.ndarray], np.ndarray]:
    """uint8 (N, H, W, 3) -> what the file's input takes."""
    dtype = _DTYPES[kind]

    def prepare(images: np.ndarray) -> np.ndarray:
        values = images
        if dtype is not np.uint8 and normalisation is not None:
            mean, std = np.array(normalisation.mean, np.float32), np.array(normalisation.std, np.float32)
            values = (images.astype(np.float32) - mean) / std
        values = values if last else values.transpose(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W)
        return np.ascontiguousarray(values, dtype)

    return prepare


def _before_softmax(graph: Graph) -> str:
    """The value that the softmax at the end takes; the first output where there is none."""
    made = {node.output: node for node in graph.nodes}
    value = graph.outputs[0]
    while value in made and made[value].op == "same":
        value = made[value].inputs[0]
    at_end = value in made and made[value].op == "softmax"
    return made[value].inputs[0] if at_end else graph.outputs[0]
