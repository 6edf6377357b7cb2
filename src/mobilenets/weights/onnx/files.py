"""An ONNX file as onnx parses it: checked for damage and for weights elsewhere; its input, its values' shapes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import UserError

Shape = tuple[int | None, ...]
LIMIT_BYTES = 2**31 - 1  # protobuf's own; weights in files beside the model count too
_COLOURS = (1, 3, 4)  # sides that tell where the channels stand


def load_model(path: Path) -> Any:
    """The file as onnx's ModelProto, functions of its own inlined, its weights found whole. Raises UserError."""
    onnx = require_onnx()
    from google.protobuf.message import DecodeError

    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise UserError(f"{path}: {size:,} bytes; an ONNX file has at most {LIMIT_BYTES:,}")
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (DecodeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: not an ONNX model, or one that is cut off ({one_line(error)})") from None
    if not model.graph.node or not model.opset_import:
        raise UserError(f"{path}: not an ONNX model, or an empty one: no operators in it")
    names = [name for node in model.graph.node for name in (node.op_type, node.domain, *node.input, *node.output)]
    if not all(isinstance(name, str) for name in names):  # protobuf gives bytes where they are no UTF-8
        raise UserError(f"{path}: not an ONNX model, or a damaged one: names that are no text")
    if model.graph.sparse_initializer:
        raise UserError(f"{path}: sparse weights, which are not read")
    _check_external(model, path, LIMIT_BYTES - size)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _check_external(model: Any, path: Path, limit: int) -> int:
    """How many bytes of tensors lie in other files; UserError unless each lies whole, beside the model.

    A location that leads out of the model's folder, by its name or by a link, is refused.
    """
    total = 0
    folder = path.parent.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location != tensor.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "")
        place = folder / location
        inside = bool(location) and "\\" not in location and place.resolve().is_relative_to(folder)
        if not inside or Path(location).is_absolute():
            raise UserError(f"{path}: tensor {tensor.name!r} lies outside the model's folder, in {location!r}: refused")
        if not place.is_file():
            raise UserError(f"{path}: its weights lie in {location!r}, which is not beside it")
        try:
            offset, length = int(said.get("offset", "0")), int(said.get("length", "-1"))
        except ValueError:
            raise UserError(f"{path}: tensor {tensor.name!r} has no number as its offset or length") from None
        length = place.stat().st_size - offset if length < 0 else length
        if offset < 0 or offset + length > place.stat().st_size:
            raise UserError(f"{path}: {location!r} is cut off: tensor {tensor.name!r} goes beyond its end")
        total += length
        if total > limit:
            raise UserError(f"{path}: more than {limit:,} bytes of weights; at most that many are read")
    return total


def image_input(model: Any, path: Path) -> str:
    """The name of the one input that is no weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    taken = {name for node in model.graph.node for name in node.input}
    names = [each.name for each in model.graph.input if each.name not in weights and each.name in taken]
    if len(names) != 1:
        raise UserError(f"{path}: takes {len(names)} inputs ({', '.join(names)}); an image network takes one")
    found = next(each for each in model.graph.input if each.name == names[0])
    kind = found.type.tensor_type
    if kind.HasField("shape") and len(kind.shape.dim) != 4:
        raise UserError(f"{path}: its input {names[0]!r} has {len(kind.shape.dim)} dimensions; images have 4")
    return names[0]


def shapes(model: Any) -> dict[str, Shape]:
    """The shape of every value whose number of dimensions is known, sides that are not as None."""
    onnx = require_onnx()
    with suppress(onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)  # else what the file itself states is left
    found = {}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(side.dim_value if side.dim_value > 0 else None for side in kind.shape.dim)
    return found


def channels_last(model: Any, image: str, shape: Shape | None) -> bool:
    """Whether the input is (N, H, W, C): by its shape or, where that leaves it open, by what first moves the axes."""
    if shape is not None and (shape[1] in _COLOURS) != (shape[3] in _COLOURS):
        return shape[3] in _COLOURS
    value = image
    for node in model.graph.node:
        if value not in node.input:
            continue
        if node.op_type == "Transpose":
            return [list(each.ints) for each in node.attribute if each.name == "perm"] == [[0, 3, 1, 2]]
        if node.op_type not in ("Cast", "Sub", "Div", "Mul", "Add", "Identity"):
            return False
        value = node.output[0]
    return False


def require_onnx() -> Any:
    """The onnx package with the parts used here. Raises UserError where it is not installed."""
    try:
        import onnx
        import onnx.external_data_helper
        import onnx.inliner
        import onnx.shape_inference
    except ImportError:
        raise UserError('reading ONNX files needs onnx: pip install "mobilenets[weights]"') from None
    return onnx


def one_line(error: Exception) -> str:
    """The error's text in one line of at most 150 characters."""
    return " ".join(str(error).split())[:150]
