"""The real Keras running a Keras file: what its logits are compared with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...arch.registry import parse_name
from ..graph import Source
from ..recognised import Recognised
from .files import KerasFile, read_keras_file
from .modern import modern_file
from .runtime import import_keras, quiet_keras, runner

_APPLICATIONS = {
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
}


def open_reference(path: Path, found: Source | Recognised) -> Callable[[np.ndarray], np.ndarray] | None:
    """uint8 images (N, H, W, 3) to Keras' logits (N, outputs) float32, before the softmax; a feature map is averaged.

    None where Keras is not installed, or where it cannot build what the file describes (layers of another version;
    weights of a network that keras.applications has not). `found` is what `read` gave:
    the normalisation is taken from it.
    """
    if find_spec("keras") is None:
        return None
    file = read_keras_file(path)
    with quiet_keras():
        if isinstance(found, Recognised):
            model, mean, std = _application(path, found)
        else:
            model = _whole_model(path, file)
            given = found.normalisation
            mean, std = (given.mean, given.std) if given else ((0.0,), (1.0,))
        return None if model is None else runner(model, mean, std)


def _whole_model(path: Path, file: KerasFile) -> Any:
    """The file loaded by Keras; None where it cannot. `read` has refused code in it before."""
    if file.config is None or _foreign(file.config):
        return None
    keras = import_keras()
    try:
        with modern_file(path, file.config) as loadable:
            return keras.saving.load_model(loadable, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, NotImplementedError):
        return None  # Keras has no one exception for a file of another version


def _foreign(config: Any) -> bool:
    """Whether the configuration names a module outside Keras, which loading might import."""
    rest = [config]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            module = value.get("module")
            if module is not None and str(module).split(".")[0] not in ("keras", "builtins"):
                return True
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return False


def _application(path: Path, found: Recognised) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """The network of keras.applications with the weights; None in its place where there is none of that width."""
    spec = found.spec
    name = parse_name(spec.name)[0].name
    minimal = name.endswith("_minimal")
    builder = _APPLICATIONS.get(name.removesuffix("_minimal"))
    pixels = ((0.0,), (1.0,)) if spec.generation == 3 else (spec.preprocessing.mean, spec.preprocessing.std)
    if builder is None:
        return None, *pixels
    keras = import_keras()
    settings: dict[str, Any] = {"minimalistic": True} if minimal else {}
    if spec.head.classes:
        settings |= {"classes": spec.head.classes}
    model = getattr(keras.applications, builder)(
        input_shape=(spec.resolution, spec.resolution, 3),
        alpha=spec.width,
        weights=None,
        include_top=bool(spec.head.classes),
        **settings,
    )
    try:
        model.load_weights(path)
    except ValueError:  # the shapes are of another rounding, or a head of its own stands on the network
        return None, *pixels
    return model, *pixels
