"""Real Keras, imported only where it is asked for, and its answers before the softmax."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import UserError

EXTRA = 'pip install "mobilenets[keras]"'
_BACKEND = "KERAS_BACKEND"


def import_keras() -> ModuleType:
    """The keras package, on torch unless KERAS_BACKEND or an earlier import chose another backend.

    The environment is left as it was: child processes choose for themselves. Raises UserError where it is missing.
    """
    chosen = _BACKEND in os.environ
    os.environ.setdefault(_BACKEND, "torch")
    try:
        import keras
    except ImportError as error:
        raise UserError(f"Keras files are written and checked by Keras itself ({error}): {EXTRA}") from None
    finally:
        if not chosen:
            del os.environ[_BACKEND]
    return keras


def logits_model(model: Any) -> Any:
    """The model from its first input to its first output, the layers shared, each softmax made to pass its input on."""
    keras = import_keras()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Softmax):
            layer.call = lambda inputs, mask=None: inputs
        elif getattr(layer, "activation", None) is keras.activations.softmax:
            layer.activation = keras.activations.linear
    return keras.Model(model.inputs[0], model.outputs[0])


def answers(model: Any, images: np.ndarray) -> np.ndarray:
    """What the model gives for float32 images (N, H, W, C): (N, outputs) float32; a feature map is averaged."""
    keras = import_keras()
    with quiet_keras():
        found = model(np.ascontiguousarray(images, np.float32), training=False)
        values = np.asarray(keras.ops.convert_to_numpy(found), np.float32)
    return values.mean((1, 2)) if values.ndim == 4 else values


def runner(model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """uint8 images (N, H, W, C) to the model's logits, the pixels normalised as (x - mean) / std before it."""
    logits = logits_model(model)
    center, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return lambda images: answers(logits, (images.astype(np.float32) - center) / spread)


@contextmanager
def quiet_keras() -> Iterator[None]:
    """Within it Keras does not warn of what its user can do nothing about.

    That is absl's line at each legacy .h5, which the user asked for, and NumPy's about Keras' own `__array__`.
    """
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
