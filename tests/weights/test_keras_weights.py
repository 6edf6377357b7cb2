"""Weights without their network: what fits, how it is told apart, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Spec
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.weights.keras import read
from mobilenets.weights.keras.layouts import to_keras, to_torch
from mobilenets.weights.keras.names import Entry, entries
from mobilenets.weights.recognised import Recognised

NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def state_of(spec: Spec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=tuple(values.shape)).astype(np.float32) if values.ndim else np.array(0)
        for name, values in build_network(spec).state_dict().items()
    }


def layers_of(spec: Spec, state: dict[str, np.ndarray]) -> list[tuple[Entry, dict[str, np.ndarray]]]:
    """Each Keras layer with its tensors by Keras 2's roles."""
    found = []
    for entry in entries(spec):
        if entry.kind == "BatchNormalization":
            found.append((entry, {role: state[f"{entry.key}.{ours}"] for role, ours in NORM.items()}))
            continue
        weight = state[f"{entry.key}.weight"]
        role = "depthwise_kernel" if entry.kind == "DepthwiseConv2D" else "kernel"
        tensors = {role: to_keras(entry.kind, weight, weight.shape[0])}
        found.append((entry, tensors | ({"bias": state[f"{entry.key}.bias"]} if entry.bias else {})))
    return found


def write(path: Path, layers: list[tuple[Entry, dict[str, np.ndarray]]], rename: Callable[[str], str] = str) -> Path:
    """A legacy file of weights alone, as keras.applications downloads them."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [rename(entry.name).encode() for entry, _ in layers]
        for entry, tensors in layers:
            name = rename(entry.name)
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{role}:0".encode() for role in tensors]
            for role, values in tensors.items():
                group[f"{name}/{role}:0"] = values
    return path


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "Dense"])
def test_layouts_are_inverse(kind: str) -> None:
    shape = {"Conv2D": (3, 5, 4, 6), "DepthwiseConv2D": (3, 5, 4, 2), "Dense": (4, 6)}[kind]
    kernel = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    weight = to_torch(kind, kernel)
    assert np.array_equal(to_keras(kind, weight, 4), kernel)
    if kind == "DepthwiseConv2D":
        assert weight.shape == (8, 1, 3, 5)
        assert weight[2 * 3 + 1, 0, 1, 4] == kernel[1, 4, 3, 1]  # channel 3, its second filter
    elif kind == "Conv2D":
        assert weight[5, 2, 1, 4] == kernel[1, 4, 2, 5]


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0, 1.4])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large_minimal"])
def test_every_width_is_told_by_the_shapes(name: str, width: float, tmp_path: Path) -> None:
    spec = create_spec(name, width=width, classes=3, profile="authors")
    state = state_of(spec)
    found = read(write(tmp_path / "weights.h5", layers_of(spec, state)))
    assert isinstance(found, Recognised)
    assert (found.spec.name, found.spec.width, found.spec.blocks) == (spec.name, width, spec.blocks)
    assert found.spec.head == spec.head
    assert found.state.keys() == state.keys()
    assert all(np.array_equal(found.state[key], state[key]) for key in state)
    with h5py.File(tmp_path / "weights.h5") as file:
        stored: list[str] = []
        file.visititems(lambda path, item: stored.append(path) if isinstance(item, h5py.Dataset) else None)
    assert sorted(found.used) == sorted(stored)


def test_channels_that_no_width_gives(tmp_path: Path) -> None:
    """keras.applications has no minimum of 8 channels in V1: alpha = 0.2 gives a stem of 6."""
    spec = create_spec("mobilenet_v1", width=0.25, classes=3, profile="authors")
    blocks = [replace(spec.blocks[0], c_mid=6, c_out=6), replace(spec.blocks[1], c_in=6, c_mid=6), *spec.blocks[2:]]
    spec = replace(spec, blocks=tuple(blocks))
    found = read(write(tmp_path / "weights.h5", layers_of(spec, state_of(spec))))
    assert isinstance(found, Recognised)
    assert [block.c_out for block in found.spec.blocks] == [block.c_out for block in blocks]
    assert "channels of its own" in found.facts["architecture"]


def test_v3_without_top_of_the_first_release_ends_in_its_hidden_layer(tmp_path: Path) -> None:
    spec = create_spec("mobilenet_v3_small", classes=0, profile="authors")
    found = read(write(tmp_path / "weights.h5", layers_of(spec, state_of(spec))))
    assert isinstance(found, Recognised)
    assert (found.spec.head.c_hidden, found.spec.head.classes) == (1024, 0)


@pytest.mark.parametrize(("file_name", "resolution"), [("mobilenet_2_5_128_tf.h5", 128), ("weights.h5", 224)])
def test_the_resolution_of_a_published_name(file_name: str, resolution: int, tmp_path: Path) -> None:
    spec = create_spec("mobilenet_v1", width=0.25, profile="authors")
    found = read(write(tmp_path / file_name, layers_of(spec, state_of(spec))))
    assert isinstance(found, Recognised)
    assert found.spec.resolution == resolution
    assert ("by the file's name" in found.facts["resolution"]) == (resolution == 128)


def damaged(what: str, layers: list[Any]) -> list[Any]:
    """The layers with one fault."""
    if what == "a layer missing":
        return layers[:20] + layers[21:]
    if what == "a layer too many":
        return [*layers, *[(layers[-1][0]._replace(name=f"more_{n}"), layers[-1][1]) for n in range(2)]]
    if what == "two layers swapped":
        return [*layers[:2], layers[4], layers[3], layers[2], *layers[5:]]
    entry, tensors = layers[6]
    if what == "a convolution with a bias":
        changed = {**tensors, "bias": np.zeros(tensors["kernel"].shape[-1], np.float32)}
    elif what == "another shape":
        changed = {**tensors, "kernel": tensors["kernel"][..., :-1]}
    else:
        changed = {"gamma": tensors["kernel"]}
    return [*layers[:6], (entry, changed), *layers[7:]]


@pytest.mark.parametrize(
    "what",
    [
        "a layer missing",
        "a layer too many",
        "two layers swapped",
        "a convolution with a bias",
        "another shape",
        "another kind",
    ],
)
def test_what_does_not_fit_is_one_line(what: str, tmp_path: Path) -> None:
    spec = create_spec("mobilenet_v2", width=0.35, classes=3, profile="authors")
    layers = layers_of(spec, state_of(spec))
    assert layers[6][0].kind == "Conv2D"
    with pytest.raises(
        UserError, match=r"weights\.h5: weights alone, .* which fit no MobileNet of keras\.applications"
    ):
        read(write(tmp_path / "weights.h5", damaged(what, layers)))


def test_automatic_names_are_refused(tmp_path: Path) -> None:
    """Such a network is somebody's own: ReLU or ReLU6, SAME or not, nothing says."""
    spec = create_spec("mobilenet_v1", width=0.25, profile="authors")
    layers = layers_of(spec, state_of(spec))
    with pytest.raises(UserError, match="layers named by Keras"):
        read(write(tmp_path / "weights.h5", layers, lambda name: {"conv1": "conv2d_4"}.get(name, name)))
    found = read(write(tmp_path / "weights.h5", layers, lambda name: f"my_{name}"))
    assert isinstance(found, Recognised)
    assert found.facts["layer names"].startswith("of their own")


def test_a_tensor_outside_the_layers_is_not_passed_over(tmp_path: Path) -> None:
    spec = create_spec("mobilenet_v1", width=0.25, profile="authors")
    path = write(tmp_path / "weights.h5", layers_of(spec, state_of(spec)))
    with h5py.File(path, "r+") as file:
        file["stray"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match="1 tensors would be left over, 'stray' first"):
        read(path)
