"""Our networks as Keras files: equal logits in the real Keras, exact round trips, nothing half-written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keras_zoo import BUILDERS, KERAS_NOTICE, pixels, relative, run

from mobilenets.arch.adapt import folded, with_activation, with_classes, with_in_channels, with_padding, with_resolution
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.weights.graph import Source
from mobilenets.weights.keras import read
from mobilenets.weights.keras.out import to_keras
from mobilenets.weights.recognise import recognise
from mobilenets.weights.recognised import Recognised

SIDE, CLASSES = 64, 7
State = dict[str, np.ndarray]
WRITABLE = [name for name in ARCHITECTURES if "hybrid" not in name]


def network_of(name: str, **settings: Any) -> tuple[Spec, State]:
    """A Spec at 64 pixels and 7 classes, and random tensors for it, BatchNorm's among them."""
    spec = with_resolution(create_spec(name, **{"classes": CLASSES, "profile": "authors"} | settings), SIDE)
    return spec, tensors_of(spec)


def tensors_of(spec: Spec) -> State:
    """Random tensors; BatchNorm has the statistics of noise images, disturbed, so that the signal lives to the end."""
    torch.manual_seed(0)
    network = build_network(spec).train()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(8, spec.in_channels, SIDE, SIDE) * torch.linspace(0.5, 1.5, 8).view(-1, 1, 1, 1))
        for norm in norms:
            variance = norm.running_var + 0.2 * norm.running_var.mean()
            norm.running_mean += torch.randn_like(norm.running_mean) * 0.2 * variance.sqrt()
            norm.running_var.copy_(variance * torch.empty_like(variance).uniform_(0.7, 1.4))
            norm.num_batches_tracked.zero_()
        for name, values in network.named_parameters():
            if values.ndim == 1 and "norm" in name:
                values.add_(torch.randn_like(values) * 0.2)
    return {key: values.numpy() for key, values in network.state_dict().items()}


def logits_of(spec: Spec, state: State, images: np.ndarray) -> np.ndarray:
    network = build_network(spec).eval()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    mean, std = (np.float32(each) for each in (spec.preprocessing.mean, spec.preprocessing.std))
    with torch.inference_mode():
        x = ((images.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        return network(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def read_back(path: Path) -> Recognised:
    found = read(path)
    return recognise(found, str(path)) if isinstance(found, Source) else found


def check_round_trip(spec: Spec, state: State, path: Path) -> Recognised:
    """Writes, checks the facts, reads back: the same tensors, bit by bit, under the same names."""
    written = to_keras(spec, state, path)
    rescales = spec.generation == 3 and spec.profile == "authors"
    assert ("the model rescales them" in written["facts"]["input"]) == rescales
    assert written["max_abs_error"] <= 1e-4 * written["largest"]
    assert written["largest"] > 0
    assert written["path"] == str(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    back = read_back(path)
    assert set(back.state) == set(state)
    for name in state:
        assert np.array_equal(back.state[name], state[name]), name
    return back


def check_spec(back: Spec, spec: Spec) -> None:
    """What a whole model states comes back; taps and such are ours alone."""
    assert [replace(block, tap="") for block in back.blocks] == [replace(block, tap="") for block in spec.blocks]
    assert (back.padding, back.norm.eps, back.resolution) == (spec.padding, pytest.approx(spec.norm.eps), SIDE)
    assert replace(back.head, dropout=0.0) == replace(spec.head, dropout=0.0)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"])
def test_a_whole_model_comes_back_exactly(name: str, tmp_path: Path) -> None:
    spec, state = network_of(name, width=0.5)
    check_spec(check_round_trip(spec, state, tmp_path / "model.keras").spec, spec)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("profile", ["authors", "default"])
@pytest.mark.parametrize("name", WRITABLE)
def test_the_whole_registry(name: str, profile: str, suffix: str, tmp_path: Path) -> None:
    spec, state = network_of(name, width=0.35, profile=profile)
    back = check_round_trip(spec, state, tmp_path / f"model{suffix}").spec
    assert back.head.outputs == spec.head.outputs
    if profile == "authors" and "v4" not in name:
        check_spec(back, spec)


@pytest.mark.filterwarnings(KERAS_NOTICE)
@pytest.mark.parametrize(
    ("network", "name", "settings"),
    [
        ("v1", "mobilenet_v1", {"alpha": 0.25}),
        ("v3_small", "mobilenet_v3_small", {"alpha": 0.75}),
        pytest.param("v2", "mobilenet_v2", {"alpha": 0.35}, marks=pytest.mark.slow),
        pytest.param("v2", "mobilenet_v2", {"alpha": 1.4}, marks=pytest.mark.slow),
        pytest.param("v3_small", "mobilenet_v3_small_minimal", {"minimalistic": True}, marks=pytest.mark.slow),
        pytest.param("v3_large", "mobilenet_v3_large", {"alpha": 0.75}, marks=pytest.mark.slow),
    ],
)
def test_keras_applications_takes_our_weights(
    network: str, name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    import keras

    spec, state = network_of(name, width=settings.get("alpha", 1.0))
    path = tmp_path / "ours.weights.h5"
    back = check_round_trip(spec, state, path)
    assert back.spec.name == spec.name
    model = getattr(keras.applications, BUILDERS[network])(
        input_shape=(SIDE, SIDE, 3), classes=CLASSES, classifier_activation=None, weights=str(path), **settings
    )
    images = pixels(SIDE)
    given = images.astype(np.float32) if network.startswith("v3") else images / np.float32(127.5) - 1
    assert relative(run(model, given), logits_of(spec, state, images)) <= 1e-5


@pytest.mark.slow
def test_conventions_of_our_own(tmp_path: Path) -> None:
    """Symmetric and explicit padding, other activations, grey images, folded parts, a background class, no softmax."""
    base, _ = network_of("mobilenet_v2", width=0.35, profile="default")
    blocks = list(base.blocks)
    blocks[0] = replace(blocks[0], pad=(2, 0, 0, 1))
    blocks[3] = replace(blocks[3], folded=("expand", "project"))
    specs = {
        "explicit": replace(base, blocks=tuple(blocks)),
        "folded": folded(with_padding(base, "same")),
        "leaky": with_activation(with_in_channels(base, 1), "leaky_relu"),
        "gelu": with_activation(with_classes(base, 1000, background=True), "gelu"),
        "features": with_classes(base, 0),
    }
    for name, spec in specs.items():
        folder = tmp_path / name
        back = check_round_trip(spec, tensors_of(spec), folder / "model.keras").spec
        assert replace(back.head, dropout=0) == replace(spec.head, dropout=0)
        assert (back.in_channels, back.norm.kind) == (spec.in_channels, spec.norm.kind)
        assert [b.folded for b in back.blocks] == [b.folded for b in spec.blocks]
    written = to_keras(specs["features"], tensors_of(specs["features"]), tmp_path / "f.keras")
    assert written["facts"]["output"] == "pooled features"


@pytest.mark.slow
def test_what_weights_alone_do_not_carry_is_said(tmp_path: Path) -> None:
    spec, state = network_of("mobilenet_v2", width=0.35, profile="default")
    assert (
        to_keras(spec, state, tmp_path / "a.weights.h5")["facts"]["unlike_keras_applications"]
        == "padding, BatchNorm epsilon"
    )
    spec = with_activation(network_of("mobilenet_v2", width=0.35)[0], "relu")
    assert to_keras(spec, state, tmp_path / "b.weights.h5")["facts"]["unlike_keras_applications"] == "activations"
    spec, state = network_of("mobilenet_v2", width=0.35)
    assert "unlike_keras_applications" not in to_keras(spec, state, tmp_path / "c.weights.h5")["facts"]


def test_a_file_that_is_off_does_not_replace_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"before")
    spec, state = network_of("mobilenet_v1", width=0.25)
    state["head.classifier.bias"][0] = np.nan
    with pytest.raises(RuntimeError, match="differ by nan"):
        to_keras(spec, state, path)
    assert [each.name for each in tmp_path.iterdir()] == ["model.keras"]
    assert path.read_bytes() == b"before"


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, state = network_of("mobilenet_v1", width=0.25)
    with pytest.raises(
        UserError, match=r"model\.pb: unknown kind of Keras file; allowed: \.weights\.h5, \.keras, \.h5"
    ):
        to_keras(spec, state, tmp_path / "model.pb")
    hybrid = create_spec("mobilenet_v4_hybrid_medium", width=0.25)
    with pytest.raises(UserError, match="Keras has no layer for attention"):
        to_keras(hybrid, {}, tmp_path / "model.keras")
    with pytest.raises(UserError, match="its convolutions have branches"):
        to_keras(create_spec("mobilenet_v1", reparam=1), {}, tmp_path / "model.keras")
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(UserError, match=r"pip install \"mobilenets\[keras\]\""):
        to_keras(spec, state, tmp_path / "model.keras")
