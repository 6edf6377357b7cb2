"""Core ML packages (.mlpackage), written by coremltools on any system and run on Apple's alone."""

from __future__ import annotations

import io
import json
import logging
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...errors import UserError
from . import FLOAT16, FLOAT32, INT8, Runtime, in_batches, one_line, require

if TYPE_CHECKING:
    from ..wrap import Shipped

FILE = "model.mlpackage"
SPEC = "Data/com.apple.CoreML/model.mlmodel"  # inside the package
TARGET = "iOS16"  # and macOS 13: the first with float16 and with int8 weights
_QUANTISE = "compression::linear_quantize_weights"
_SMALLEST = 512  # numbers of a weight: smaller ones stay float16, they save nothing


def write(module: Shipped, folder: Path, precision: str, properties: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    """Writes the folder `folder`/model.mlpackage, the same bytes each time. Returns its path and its facts.

    Input `image` is a picture of R x R pixels; normalisation is inside. Outputs: `logits`, `label` (the likeliest),
    `label_probs` (softmax of the logits). It computes in float16; int8 is a way of storing weights, symmetric, with
    a scale for each output channel.
    """
    (ct,) = _quietly_imported()
    labels = json.loads(properties["labels"])
    with _silence():
        model = _converted(ct, module, precision, unique(labels))
    path = folder / FILE
    model.save(str(path))
    spec = model.get_spec()
    _describe_(spec, module, labels, properties)
    (path / SPEC).write_bytes(spec.SerializeToString(deterministic=True))
    _name_parts_(path / "Manifest.json")
    facts = {"minimum_deployment_target": "iOS 16, macOS 13", "specification_version": spec.specificationVersion}
    return path, facts


def _converted(ct: Any, module: Shipped, precision: str, labels: list[str]) -> Any:
    """The model of coremltools.

    In two steps: coremltools 9 fails on a classifier with named outputs, and so it does when it is to quantise one.
    """
    import torch

    size = module.spec.resolution
    example = torch.zeros(1, 3, size, size)
    with torch.no_grad():  # exported first: coremltools fails on sides that the graph computes, as for "same" padding
        fixed = torch.export.export(_classifier(module), (example,), strict=False).module(check_guards=False)
        traced = torch.jit.trace(fixed, example, check_trace=False)
    target = getattr(ct.target, TARGET)
    program = ct.convert(
        traced,
        inputs=[ct.ImageType(name="image", shape=(1, 3, size, size), color_layout=ct.colorlayout.RGB)],
        outputs=[ct.TensorType(name=name, dtype=np.float32) for name in ("logits", "scores")],
        convert_to="milinternal",
        compute_precision=ct.precision.FLOAT16,
        minimum_deployment_target=target,
    )
    program.functions["main"].output_types = None
    pipeline = ct.PassPipeline.EMPTY
    if precision == INT8:
        pipeline = ct.PassPipeline([_QUANTISE], INT8)
        pipeline.set_options(_QUANTISE, {"config": _int8(ct)})
    return ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        classifier_config=ct.ClassifierConfig(
            labels, predicted_feature_name="label", predicted_probabilities_output="scores"
        ),
        minimum_deployment_target=target,
        pass_pipeline=pipeline,
        skip_model_load=True,
    )


def _classifier(module: Shipped) -> Any:
    """float32 RGB (1, 3, R, R), 0 to 255 -> logits (1, C) and their softmax."""
    from torch import Tensor, nn

    from ..wrap import Planar

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.planar = Planar(module)

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.planar(image)
            return logits, logits.softmax(1)

    return Classifier().eval()


def _int8(ct: Any) -> Any:
    from coremltools.optimize import coreml as optimize

    setting = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=_SMALLEST
    )
    return optimize.OptimizationConfig(global_config=setting)


def unique(labels: list[str]) -> list[str]:
    """Names that can be keys of a dictionary: of those that occur again, the later ones with their place behind."""
    seen: set[str] = set()
    names = []
    for place, label in enumerate(labels):
        name = label if label not in seen else f"{label} ({place})"
        seen.add(name)
        names.append(name)
    return names


def _describe_(spec: Any, module: Shipped, labels: list[str], properties: Mapping[str, str]) -> None:
    """What Xcode shows of the model; nothing of when and by whom it was converted."""
    description, size = spec.description, module.spec.resolution
    description.metadata.Clear()
    description.metadata.shortDescription = f"{module.spec.name}: which of {len(labels)} classes a picture shows."
    description.metadata.versionString = __version__
    for key, value in sorted(properties.items()):
        description.metadata.userDefined[key] = value
    description.input[0].shortDescription = f"RGB picture of {size} x {size} pixels; the model normalises it."
    words = {
        "label": "The likeliest class.",
        "label_probs": "Softmax of the logits: the score of each class, 0 to 1.",
        "logits": f"The {len(labels)} numbers before softmax, in the order of the labels.",
    }
    for output in description.output:
        output.shortDescription = words[output.name]


def _name_parts_(path: Path) -> None:
    """Names the package's parts after what they are, where coremltools draws a random name for each."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    names = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, part["path"])) for old, part in manifest["itemInfoEntries"].items()
    }
    manifest["itemInfoEntries"] = {names[old]: part for old, part in sorted(manifest["itemInfoEntries"].items())}
    manifest["itemInfoEntries"] = dict(sorted(manifest["itemInfoEntries"].items()))
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    path.write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")


def _quietly_imported() -> list[Any]:
    with _silence():
        return require("coreml", "coremltools")


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps away progress bars and warnings about libraries that coremltools was not tested with."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def elsewhere() -> str | None:
    """Why a package cannot be run on this machine; None where it can."""
    return None if sys.platform == "darwin" else "Core ML runs on Apple's systems alone"


class CoremlSession:
    """A package in Core ML, on whatever processor it chooses."""

    def __init__(self, path: Path, threads: int | None) -> None:
        reason = elsewhere()
        if reason:
            raise UserError(f"{path}: not run here: {reason}")
        read_spec(path)
        (ct,) = _quietly_imported()
        try:
            self.model = ct.models.MLModel(str(path))
        except MemoryError:
            raise
        except Exception as error:  # Core ML's errors have no class of their own to catch
            raise UserError(f"{path}: not a model that Core ML opens ({one_line(error)})") from None

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        return in_batches(self._one, images)

    def _one(self, images: np.ndarray) -> np.ndarray:
        (image,) = require("coreml", "PIL.Image")
        found = self.model.predict({"image": image.fromarray(images[0])})
        return np.asarray(found["logits"], np.float32).reshape(1, -1)


def read_spec(path: Path) -> Any:
    """The package's protocol buffer, on any system. Raises UserError where it is broken or keeps another contract."""
    (ct,) = _quietly_imported()
    if not (path / SPEC).is_file():
        raise UserError(f"{path}: no package of Core ML, it has no {SPEC}")
    try:
        spec = ct.models.utils.load_spec(str(path))
    except MemoryError:
        raise
    except Exception as error:  # of protobuf and of the reader of packages
        raise UserError(f"{path}: not a package of Core ML ({one_line(error)})") from None
    found = [value.name for value in (*spec.description.input, *spec.description.output)]
    if found != ["image", "label", "label_probs", "logits"]:
        raise UserError(f"{path}: takes and gives {', '.join(found)}; a bundle's file takes image and gives logits")
    return spec


def stored(path: Path) -> dict[str, int]:
    """How many weights of convolutions and products the package holds in each type."""
    names = {10: FLOAT16, 11: FLOAT32, 21: INT8}  # MIL's DataType
    (block,) = read_spec(path).mlProgram.functions["main"].block_specializations.values()
    made = {operation.outputs[0].name: operation for operation in block.operations}
    counts: dict[str, int] = {}
    for operation in block.operations:
        if operation.type not in ("conv", "linear"):
            continue
        source = made[operation.inputs["weight"].arguments[0].name]
        kind = (
            source.attributes["quantized_data"].type if source.type.startswith("constexpr") else source.outputs[0].type
        )
        name = names.get(kind.tensorType.dataType, "other")
        numbers = prod(dimension.constant.size for dimension in kind.tensorType.dimensions)
        counts[name] = counts.get(name, 0) + numbers
    return counts


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """The source of a class in Swift that predicts with the package at `path`, relative to the bundle."""
    from ...arch.spec import Spec
    from .coreml_example import swift_example

    labels = [row["name"] for row in manifest["labels"]]
    preprocessing = Spec.from_json(manifest["spec"]).preprocessing
    return {"examples/coreml/Classifier.swift": swift_example(preprocessing, path, labels, manifest["decision"])}


COREML = Runtime(
    name="coreml",
    extra="coreml",
    precisions=(FLOAT16, INT8),
    packages=("coremltools",),
    writes_with=("coremltools",),
    runs_with=("coremltools",),
    write=write,
    open=CoremlSession,
    examples=examples,
    calibrated=(),
    stored=stored,
    elsewhere=elsewhere,
)
