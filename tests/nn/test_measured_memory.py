"""Peak activation memory as `cost` states it equals what is measured while the exported graph really runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from mobilenets.arch.adapt import folded, with_activation
from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.nn.network import Network


class Measured(fx.Interpreter):
    """Runs a graph node by node, drops each value after its last use, and records the bytes of the live storages."""

    def __init__(self, module: fx.GraphModule, parameters: set[int]) -> None:
        super().__init__(module)
        self.parameters = parameters
        self.peak_bytes = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        values = [value for value in [*self.env.values(), result] if isinstance(value, Tensor)]
        storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in values}
        alive = sum(size for address, size in storages.items() if address not in self.parameters)
        self.peak_bytes = max(self.peak_bytes, alive)
        return result


def without_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention's two products alone: a fused softmax runs in place."""
    return (q @ k[:, :1].transpose(2, 3)) @ v[:, :1]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("settings", [{}, {"profile": "authors", "resolution": 97, "total_stride": 16}], ids=["", "97"])
def test_peak_equals_the_measured_one(name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """BatchNorm is folded away and activations are left out: both happen in place in every runtime.

    Padding is symmetric, since TensorFlow's `same` copies the padded input here, which its own runtimes do not.
    """
    monkeypatch.setattr(F, "scaled_dot_product_attention", without_softmax)
    monkeypatch.setattr("mobilenets.nn.network.initialise_", lambda module, how: None)
    spec = folded(with_activation(create_spec(name, width=0.25, padding="symmetric", **settings), "identity"))
    network = Network(spec).eval()
    images = torch.zeros(1, 3, spec.resolution, spec.resolution)
    graph = fx.GraphModule(network, Traced().trace(network))
    parameters = {p.untyped_storage().data_ptr() for p in [*network.parameters(), *network.buffers()]}
    measured = Measured(graph, parameters)
    with torch.inference_mode():
        measured.run(images)
    assert measured.peak_bytes == cost(spec).activation_bytes


class Traced(fx.Tracer):
    """Traces through our own modules; torch's layers stay whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in (nn.BatchNorm2d, nn.Linear) or (not list(m.children()) and "layers" not in type(m).__module__)
