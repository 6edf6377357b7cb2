"""OpenVINO's IR (.xml and .bin), made from the ONNX graph and run by OpenVINO on the CPU."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from ...errors import UserError
from . import BFLOAT16, FLOAT16, FLOAT32, INT8, WEIGHTS8, Runtime, one_line, require
from .onnx import onnx_model
from .openvino_ran import ran
from .qdq import for_openvino_
from .weight_only import hold_integers_

if TYPE_CHECKING:
    from . import Shippable

FILE = "model.xml"
DYNAMIC = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
SECTION = "mobilenets"  # of the file's rt_info: what the bundle's properties say
_HINTS = {FLOAT32: "f32", FLOAT16: "f32", BFLOAT16: "bf16", WEIGHTS8: "f32", INT8: "f32"}
_TYPES = {"f32": FLOAT32, "f16": FLOAT16, "i8": INT8, "u8": INT8}


def write(
    module: Shippable, folder: Path, precision: str, properties: Mapping[str, str]
) -> tuple[Path, dict[str, Any]]:
    """Writes `folder`/model.xml and model.bin, dynamic batch, the same bytes each time. Returns the .xml and its facts.

    float16 holds its weights so and computes in float32 where the CPU has nothing better; bfloat16 holds float32 and
    computes in bfloat16. weights8 holds int8 weights, and says in the file itself that the activations of each image
    are not to be rounded to int8 in front of the classifier, as OpenVINO does by default on CPUs with VNNI.
    """
    (openvino,) = require("openvino", "openvino")
    require("openvino", "onnx", "onnxscript")
    graph = onnx_model(module)
    if precision == INT8:
        for_openvino_(graph)
    if precision == WEIGHTS8:
        hold_integers_(graph)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "model.onnx"
        source.write_bytes(graph.SerializeToString())
        model = openvino.convert_model(source)
    describe_(model, precision, properties)
    if precision == WEIGHTS8:
        model.set_rt_info("0", ["runtime_options", DYNAMIC])
    path = folder / FILE
    openvino.save_model(model, path, compress_to_fp16=precision == FLOAT16)
    _clean_(path, module.spec.name)
    return path, {"ir_version": 11, "computes_in": _HINTS[precision]}


def describe_(model: Any, precision: str, properties: Mapping[str, str]) -> None:
    """Puts into the file what it is: our properties, and labels in the form that OpenVINO's Model API reads."""
    for key, value in sorted({**properties, "precision": precision}.items()):
        model.set_rt_info(value, [SECTION, key])
    if "labels" in properties:
        labels = " ".join(label.replace(" ", "_") for label in json.loads(properties["labels"]))
        model.set_rt_info(labels, ["model_info", "labels"])
        model.set_rt_info("Classification", ["model_info", "model_type"])


def _clean_(path: Path, name: str) -> None:
    """Names that do not count what the process did before, and nothing of where the file was made."""
    tree = ElementTree.parse(path)
    root = tree.getroot()
    root.set("name", name)
    for layer in root.iter("layer"):
        if layer.get("type") not in ("Parameter", "Result"):
            layer.set("name", f"{layer.get('type')}_{layer.get('id')}")
    info = root.find("rt_info")
    if info is not None:
        for entry in list(info):
            if entry.tag == "conversion_parameters" or entry.get("name") == "conversion_parameters":
                info.remove(entry)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def stored(path: Path) -> dict[str, int]:
    """The numbers in the file's weights (constants with two dimensions or more above 1) by type."""
    counts: dict[str, int] = {}
    for layer in ElementTree.parse(path).getroot().iter("layer"):
        data = layer.find("data")
        if layer.get("type") != "Const" or data is None:
            continue
        shape = [int(side) for side in (data.get("shape") or "").split(",") if side.strip()]
        kind = _TYPES.get(data.get("element_type") or "")
        if kind is not None and sum(side > 1 for side in shape) >= 2:
            counts[kind] = counts.get(kind, 0) + math.prod(shape)
    return counts


class OpenVinoSession:
    """A model file in OpenVINO on the CPU, in the precision that the file names."""

    def __init__(self, path: Path, threads: int | None) -> None:
        (openvino,) = require("openvino", "openvino")
        core = openvino.Core()
        try:
            model = core.read_model(path)
            inputs, outputs = model.inputs, model.outputs
            found = [
                (value.get_any_name(), value.element_type.get_type_name(), value.partial_shape.rank.get_length())
                for value in (*inputs, *outputs)
            ]
            precision = str(model.get_rt_info([SECTION, "precision"]).astype(str))
        except Exception as error:  # OpenVINO's errors are RuntimeErrors of any sort
            if not path.is_file():
                raise UserError(f"{path}: no such file") from None
            raise UserError(f"{path}: not a bundle's model that OpenVINO opens ({one_line(error)})") from None
        wanted = [("image", "u8", 4), ("logits", "f32", 2)]
        if found != wanted:
            raise UserError(f"{path}: takes and gives {found}; a bundle's file takes and gives {wanted}")
        if precision == BFLOAT16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError(
                f"{path}: this CPU does not compute in bfloat16; allowed here: float32, float16, weights8, int8"
            )
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32")}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            self.request = core.compile_model(model, "CPU", config).create_infer_request()
        except Exception as error:
            raise UserError(f"{path}: not a model that OpenVINO compiles ({one_line(error)})") from None

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        logits: np.ndarray = self.request.infer({"image": np.ascontiguousarray(images)})["logits"]
        return logits.copy()


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """The source of a program that predicts with the file at `path`, relative to the bundle."""
    from ...arch.spec import Spec
    from ..example import python_example

    name = "example_openvino.py"
    hint = _HINTS[PurePosixPath(path).parent.name]
    source = python_example(
        Spec.from_json(manifest["spec"]).preprocessing,
        name=name,
        package="openvino",
        imports="import openvino",
        setup=f'model = openvino.Core().compile_model(HERE / "{path}", "CPU", '
        f'{{"INFERENCE_PRECISION_HINT": "{hint}"}})',
        run="model(image[None])[0][0]",
    )
    return {name: source}


OPENVINO = Runtime(
    name="openvino",
    extra="openvino",
    precisions=(FLOAT32, FLOAT16, BFLOAT16, WEIGHTS8, INT8),
    packages=("openvino", "onnx", "onnxscript"),
    writes_with=("openvino", "onnx", "onnxscript"),
    runs_with=("openvino",),
    write=write,
    open=OpenVinoSession,
    examples=examples,
    stored=stored,
    ran=ran,
)
