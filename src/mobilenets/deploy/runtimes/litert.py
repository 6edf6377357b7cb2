"""LiteRT files (.tflite), run by ai-edge-litert with XNNPACK."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from . import FLOAT16, FLOAT32, INT8, WEIGHTS8, Ran, Runtime, in_batches, one_line, require
from .litert_ran import told

if TYPE_CHECKING:
    from . import Shippable

FILE = "model.tflite"


def write(
    module: Shippable, folder: Path, precision: str, properties: Mapping[str, str]
) -> tuple[Path, dict[str, Any]]:
    """Writes `folder`/model.tflite: one image at a time, the same bytes each time. Returns its path and its facts."""
    require("litert", "ai_edge_litert", "flatbuffers")
    from ..litert.convert import converted
    from ..litert.file import tflite
    from ..litert.hard_swish import hard_swish_as_products_
    from ..litert.weights import halve_, hold_integers_

    model = converted(module, quantised=precision == INT8)
    if precision == INT8:
        hard_swish_as_products_(model)
    if precision == FLOAT16:
        halve_(model)
    if precision == WEIGHTS8:
        hold_integers_(model)
    path = folder / FILE
    path.write_bytes(tflite(model, module.spec, properties))
    return path, {"batch": 1, "operators": len(model.subgraphs[0].operators)}


class LitertSession:
    """A model file in LiteRT on the CPU."""

    def __init__(self, path: Path, threads: int | None) -> None:
        from ..litert.quiet import quiet

        with quiet():
            (litert,) = require("litert", "ai_edge_litert.interpreter")
            if not path.is_file():
                raise UserError(f"{path}: no such file")
            try:
                self.interpreter = litert.Interpreter(model_content=path.read_bytes(), num_threads=threads)
                self.interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise UserError(f"{path}: not a model that LiteRT opens ({one_line(error)})") from None
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        found = [(value["name"], np.dtype(value["dtype"]).name, len(value["shape"])) for value in (*inputs, *outputs)]
        wanted = [("image", "uint8", 4), ("logits", "float32", 2)]
        if found != wanted:
            raise UserError(
                f"{path}: takes and gives {_values(found)}; a bundle's file takes and gives {_values(wanted)}"
            )
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: breaks off: its labels, which stand behind the model, are not there")
        self.image, self.logits = inputs[0]["index"], outputs[0]["index"]

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        return in_batches(self._run_one, images)

    def _run_one(self, image: np.ndarray) -> np.ndarray:
        self.interpreter.set_tensor(self.image, image)
        self.interpreter.invoke()
        logits: np.ndarray = self.interpreter.get_tensor(self.logits)
        return logits


def ran(path: Path, threads: int) -> Ran:
    """Which operators XNNPACK takes, and in which types the products compute."""
    return told(LitertSession(path, threads).interpreter)


def stored(path: Path) -> dict[str, int]:
    """How many weights the file holds in each type."""
    from ..litert.file import stored as counted

    return counted(path)


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """A Python program that predicts with the file at `path`, relative to the bundle, and the class for Android."""
    from ...arch.spec import Spec
    from ..example import python_example
    from ..litert.kotlin import kotlin_class

    name = "example_litert.py"
    source = python_example(
        Spec.from_json(manifest["spec"]).preprocessing,
        name=name,
        package="ai-edge-litert",
        imports="from ai_edge_litert.interpreter import Interpreter",
        setup=f'network = Interpreter(str(HERE / "{path}")).get_signature_runner()',
        run='network(image=image[None])["logits"][0]',
    )
    return {name: source, "examples/litert/Classifier.kt": kotlin_class(manifest, path)}


def _values(rows: list[tuple[str, str, int]]) -> str:
    return ", ".join(f"{name} {kind} of {rank} dimensions" for name, kind, rank in rows)


LITERT = Runtime(
    name="litert",
    extra="litert",
    precisions=(FLOAT32, FLOAT16, WEIGHTS8, INT8),
    packages=("litert-torch", "ai-edge-litert"),
    writes_with=("ai_edge_litert", "flatbuffers", "litert_torch"),
    runs_with=("ai_edge_litert.interpreter",),
    write=write,
    open=LitertSession,
    examples=examples,
    stored=stored,
    ran=ran,
)
