"""Our networks with other libraries' weights give those libraries' logits.

The weights are recorded by name and shape alone and made by shared/golden/deterministic_state.py, so this is no test
of an importer: tensors are matched in the order of definition, every one must be used, and shapes must agree.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.arch.registry import create_spec
from mobilenets.nn.network import Network, build_network

TF = {"padding": "same", "norm_eps": 1e-3}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "timm/mobilenetv1_100": ("mobilenet_v1", {}),
    "timm/mobilenetv2_050": ("mobilenet_v2_050", {}),
    "timm/mobilenetv2_100": ("mobilenet_v2", {}),
    "timm/mobilenetv2_110d": ("mobilenet_v2_110", {"layer_multiplier": 1.2, "fixed_stem_and_head": True}),
    "timm/mobilenetv3_large_100": ("mobilenet_v3_large", {}),
    "timm/mobilenetv3_small_050": ("mobilenet_v3_small_050", {"fixed_stem": True}),
    "timm/mobilenetv3_small_100": ("mobilenet_v3_small", {}),
    "timm/mobilenetv4_conv_large": ("mobilenet_v4_conv_large", {}),
    "timm/mobilenetv4_conv_small": ("mobilenet_v4_conv_small", {}),
    "timm/mobilenetv4_hybrid_medium": ("mobilenet_v4_hybrid_medium", {}),
    "timm/tf_mobilenetv3_large_100": ("mobilenet_v3_large", {"profile": "authors"}),
    "timm/tf_mobilenetv3_large_minimal_100": ("mobilenet_v3_large_minimal", TF),
    "timm/tf_mobilenetv3_small_minimal_100": ("mobilenet_v3_small_minimal", TF),
    "torchvision/mobilenet_v2": ("mobilenet_v2", {}),
    "torchvision/mobilenet_v3_large": ("mobilenet_v3_large", {"norm_eps": 1e-3, "norm_momentum": 0.01}),
}


@pytest.fixture(scope="module")
def recorded(shared: Path) -> ModuleType:
    """The module that makes the recorded weights and inputs."""
    spec = importlib.util.spec_from_file_location("deterministic_state", shared / "golden" / "deterministic_state.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_in_order(network: Network, state: dict[str, np.ndarray]) -> None:
    """Fills the network from a state dict of the same definition order; every tensor on both sides is used once."""
    own = network.state_dict()
    matched = {}
    for (theirs, values), (name, tensor) in zip(state.items(), own.items(), strict=True):
        assert theirs.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1], (theirs, name)
        squeezed = [tuple(size for size in shape if size != 1) for shape in (values.shape, tensor.shape)]
        assert squeezed[0] == squeezed[1], (theirs, name)
        matched[name] = torch.from_numpy(np.ascontiguousarray(values)).reshape(tensor.shape)
    network.load_state_dict(matched)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_the_source_librarys(name: str, recorded: ModuleType, shared: Path) -> None:
    manifest = recorded.load_manifest(shared / "golden" / f"{name}.json.gz")
    expected = np.load(shared / "golden" / f"{name}.npz")["logits"]
    architecture, settings = NETWORKS[name]
    network = build_network(create_spec(architecture, **settings)).eval()
    load_in_order(network, recorded.state(manifest))
    with torch.inference_mode():
        logits = network(torch.from_numpy(recorded.example_input(manifest))).numpy()
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_padding_and_epsilon_of_the_profile_matter(recorded: ModuleType, shared: Path) -> None:
    """The comparison above would notice the wrong convention."""
    name = "timm/tf_mobilenetv3_small_minimal_100"
    manifest = recorded.load_manifest(shared / "golden" / f"{name}.json.gz")
    expected = np.load(shared / "golden" / f"{name}.npz")["logits"]
    for settings in ({"padding": "symmetric", "norm_eps": 1e-3}, {"padding": "same", "norm_eps": 1e-5}):
        network = build_network(create_spec("mobilenet_v3_small_minimal", **settings)).eval()  # type: ignore[arg-type]
        load_in_order(network, recorded.state(manifest))
        with torch.inference_mode():
            logits = network(torch.from_numpy(recorded.example_input(manifest))).numpy()
        assert np.abs(logits - expected).max() > 1e-3 * np.abs(expected).max()
