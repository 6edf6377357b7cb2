"""Real Keras models with random weights, their files in every format, and their logits by Keras itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

# NumPy 2 asks for a `copy` that the `__array__` of Keras' variables does not take: nothing a caller can do about it.
KERAS_NOTICE = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"

BUILDERS = {
    "v1": "MobileNet",
    "v2": "MobileNetV2",
    "v3_small": "MobileNetV3Small",
    "v3_large": "MobileNetV3Large",
}
CLASSES = 7


def application(
    network: str, side: int, *, top: bool = True, **settings: Any
) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """A model of keras.applications, and the function from uint8 images (N, H, W, 3) to its logits.

    The logits come from a second model, built without the softmax, with the same weights. Without top, the mean of the
    feature map.
    """
    import keras

    build = getattr(keras.applications, BUILDERS[network])
    settings |= {"input_shape": (side, side, 3), "weights": None, "include_top": top}
    settings |= {"classes": CLASSES} if top else {}
    model = build(**settings)
    disturb_(model)
    bare = build(**settings, classifier_activation=None) if top else model
    if top:
        bare.set_weights(model.get_weights())

    def logits(images: np.ndarray) -> np.ndarray:
        pixels = images.astype(np.float32)
        return run(bare, pixels if network.startswith("v3") else pixels / 127.5 - 1)

    return model, logits


def disturb_(model: Any, seed: int = 0) -> None:
    """Random values everywhere that matter and keep the signal alive.

    BatchNorm statistics are those of noise images, as after training, then disturbed: with others the signal of a deep
    network explodes or dies, and with it any meaning of a relative error.
    """
    import keras

    rng = np.random.default_rng(seed)
    layers = list(model._flatten_layers())
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in layers:
        if layer.__class__.__name__ in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"):
            depthwise = layer.__class__.__name__ == "DepthwiseConv2D"
            shapes = [weight.shape for weight in layer.get_weights()]
            fans = [np.prod(shape[:2] if depthwise else shape[:-1]) if len(shape) > 1 else 25 for shape in shapes]
            layer.set_weights([rng.normal(0, np.sqrt(1 / fan), shape) for fan, shape in zip(fans, shapes)])
    for norm in norms:
        norm.momentum, norm.momentum_before = 0.0, norm.momentum
    images = pixels(model.inputs[0].shape[1], 8, model.inputs[0].shape[3]).astype(np.float32)
    raw = any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in layers)
    model(images if raw else images / 127.5 - 1, training=True)
    for norm in norms:
        norm.momentum = norm.momentum_before
        values = {weight.name: weight.numpy() for weight in norm.weights}
        n = values["moving_mean"].size
        values["moving_variance"] = np.maximum(values["moving_variance"], 0)  # rounding may leave less
        values["moving_mean"] += rng.normal(0, 0.2, n) * np.sqrt(values["moving_variance"])
        variance = values["moving_variance"] + 0.2 * values["moving_variance"].mean()  # none so small that it explodes
        values["moving_variance"] = variance * rng.uniform(0.7, 1.4, n)
        values |= {"gamma": rng.uniform(0.7, 1.4, n), "beta": rng.normal(0, 0.3, n)}
        norm.set_weights([values[weight.name] for weight in norm.weights])


def run(model: Any, images: np.ndarray) -> np.ndarray:
    """The model's answers as (N, outputs) float32; a feature map is averaged."""
    import keras

    found = keras.ops.convert_to_numpy(model(images.astype(np.float32), training=False))
    return found.mean((1, 2)) if found.ndim == 4 else found


def pixels(side: int, count: int = 3, channels: int = 3) -> np.ndarray:
    """uint8 images (N, side, side, channels), each with a brightness of its own."""
    rng = np.random.default_rng(side)
    noise = rng.integers(0, 256, (count, side, side, channels))
    return (noise * np.linspace(0.4, 1.0, count)[:, None, None, None]).astype(np.uint8)


def save(model: Any, folder: Path, suffix: str) -> Path:
    """The model's file: .keras, .h5, .weights.h5, or legacy.h5: weights alone as keras.applications downloads them."""
    path = folder / f"model{suffix}" if suffix != "legacy.h5" else folder / "legacy.h5"
    if suffix == "legacy.h5":
        save_as_keras_2(model, path)
    elif suffix == ".weights.h5":
        model.save_weights(path)
    else:
        model.save(path)
    return path


def save_as_keras_2(model: Any, path: Path, rename: Callable[[str], str] = str) -> None:
    """Weights alone in the layout of Keras 2: attributes layer_names and weight_names, names ending in `:0`."""
    import h5py

    with h5py.File(path, "w") as file:
        write_layers(file, model, rename)


def write_layers(group: Any, model: Any, rename: Callable[[str], str] = str) -> None:
    """The layers of a model into an HDF5 group as Keras 2 wrote them."""
    layers = [layer for layer in model.layers if layer.__class__.__name__ != "Operation"]
    group.attrs["layer_names"] = [rename(layer.name).encode() for layer in layers]
    group.attrs["backend"], group.attrs["keras_version"] = b"tensorflow", b"2.8.0"
    for layer in layers:
        inner = group.create_group(rename(layer.name))
        names = []
        for weight in layer.trainable_weights + layer.non_trainable_weights:
            role = weight.name
            if layer.__class__.__name__ == "DepthwiseConv2D" and role == "kernel":
                role = "depthwise_kernel"
            names.append(f"{rename(layer.name)}/{role}:0")
            inner[names[-1]] = weight.numpy()
        inner.attrs["weight_names"] = [name.encode() for name in names]


def relative(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, relative to the largest logit; the logits must differ between images."""
    assert got.shape == want.shape
    assert np.ptp(want, axis=0).max() > 1e-3 * np.abs(want).max() > 0
    return float(np.abs(got - want).max() / np.abs(want).max())
