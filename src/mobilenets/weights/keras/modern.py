"""Files of older Keras as the installed one takes them: the same layers and weights, their configuration respelled."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .config import MODELS, layers_of
from .files import HDF5_SIGNATURE

_CONSTANTS = {"Add": "offset", "Multiply": "scale"}
_FUNCTIONS = {"__operators__.add": "Add", "math.add": "Add", "math.multiply": "Multiply"}


def modernised(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of the model's configuration that Keras 3 can build.

    Keras 2 gave DepthwiseConv2D a `groups` that it ignored; it wrote x + 3 as a TFOpLambda, and Keras 3 in its legacy
    format as an Add that it cannot read back: both become the Rescaling layer of the same arithmetic.
    """
    model = copy.deepcopy(config)
    _modernise_(model)
    return model


def _modernise_(model: dict[str, Any]) -> None:
    for layer in layers_of(model):
        if layer["class_name"] in MODELS:
            _modernise_(layer)
        elif layer["class_name"] == "DepthwiseConv2D":
            layer["config"].pop("groups", None)
        elif not str(layer.get("module", "")).startswith("keras.src.ops"):
            _replace_constant_(layer)


def _replace_constant_(layer: dict[str, Any]) -> None:
    """Turns the addition or multiplication of one constant into a Rescaling; any other layer stays."""
    kind = layer["class_name"]
    if kind == "TFOpLambda":
        kind = _FUNCTIONS.get(layer["config"].get("function", ""), "")
    calls = [found for call in layer.get("inbound_nodes") or [] if (found := _one_constant(call))]
    values = {value for _, value in calls}
    if kind not in _CONSTANTS or len(calls) != len(layer.get("inbound_nodes") or []) or len(values) != 1:
        return
    constants = {"scale": 1.0, "offset": 0.0} | {_CONSTANTS[kind]: values.pop()}
    layer["class_name"] = "Rescaling"
    layer["config"] = {"name": layer["config"]["name"], **constants}
    layer["inbound_nodes"] = [call for call, _ in calls]
    if "module" in layer:
        layer |= {"module": "keras.layers", "registered_name": None}


def _one_constant(call: Any) -> tuple[Any, float] | None:
    """The call without its constant, and the constant; None where it does not take one tensor and one number."""
    if isinstance(call, dict):
        numbers = [value for value in call["args"] if isinstance(value, int | float)]
        tensors = [value for value in call["args"] if isinstance(value, dict)]
        return ({"args": tensors, "kwargs": {}}, float(numbers[0])) if len(numbers) == len(tensors) == 1 else None
    if len(call) == 4 and isinstance(call[0], str) and isinstance(call[3].get("y"), int | float):
        return [[*call[:3], {}]], float(call[3]["y"])
    return None


@contextmanager
def modern_file(path: Path, config: dict[str, Any]) -> Iterator[Path]:
    """The file itself where the installed Keras can build its `config`, else a copy that lives as long as the block."""
    modern = modernised(config)
    with open(path, "rb") as f:
        hdf5 = f.read(8) == HDF5_SIGNATURE
    suffix = ".h5" if hdf5 else ".keras"
    if modern == config and path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"model{suffix}"
        (_copy_hdf5 if hdf5 else _copy_zip)(path, target, json.dumps(modern))
        yield target


def _copy_hdf5(path: Path, target: Path, config: str) -> None:
    import h5py

    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as file:
        del file.attrs["model_config"]
        file.attrs["model_config"] = config


def _copy_zip(path: Path, target: Path, config: str) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copied:
        for name in source.namelist():
            copied.writestr(name, config if name == "config.json" else source.read(name))
