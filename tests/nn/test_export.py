"""torch.export and torch.compile give eager's values, whatever the batch."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import with_blocks
from mobilenets.nn.network import Network, build_network

EVERY_KIND_OF_BLOCK = ("mobilenet_v1", "mobilenet_v3_small", "mobilenet_v4_conv_small", "mobilenet_v4_hybrid_medium")


def small(name: str, **settings: Any) -> Network:
    torch.manual_seed(0)
    return build_network(create_spec(name, width=0.25, resolution=32, classes=5, **settings)).eval()


def images(batch: int, side: int = 32) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def exported_equals_eager(network: Network) -> None:
    dynamic = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(network, (images(2),), dynamic_shapes=(dynamic,))
    module = program.module()
    with torch.inference_mode():
        for batch in (1, 2, 5):
            expected, found = network(images(batch)), module(images(batch))
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in EVERY_KIND_OF_BLOCK else [pytest.mark.slow]) for name in ARCHITECTURES],
)
def test_export_with_a_dynamic_batch(name: str) -> None:
    exported_equals_eager(small(name))


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "authors"},
        {"reparam": 2, "padding": "same"},
        pytest.param({"output_stride": 8}, marks=pytest.mark.slow),
        pytest.param({"total_stride": 8}, marks=pytest.mark.slow),
        pytest.param({"background": True}, marks=pytest.mark.slow),
        pytest.param({"activation": "gelu"}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_export_of_other_settings(settings: dict[str, Any]) -> None:
    exported_equals_eager(small("mobilenet_v3_small", **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks", "backward"), [("mobilenet_v3_small", 5, False), ("mobilenet_v1_shallow", 3, True)]
)
def test_compiled_equals_eager(name: str, blocks: int, backward: bool) -> None:
    """The first blocks, one of each sort among them: nearly all of the time is the C++ compiler's."""
    spec = small(name).spec
    network = build_network(with_blocks(spec, spec.blocks[:blocks])).eval()
    with warnings.catch_warnings(), torch.set_grad_enabled(backward):
        warnings.simplefilter("ignore")  # inductor's own, about the machine
        compiled = torch.compile(network, fullgraph=True)
        found = compiled(images(2))
        if backward:
            found.square().sum().backward()
    gradients = {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    expected = network(images(2))
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    if backward:
        expected.square().sum().backward()
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None
            assert (gradients[key] - parameter.grad).abs().max() <= 1e-3 * parameter.grad.abs().max() + 1e-6


@pytest.mark.slow
def test_captured_by_dynamo_in_one_graph() -> None:
    """No graph break: the whole network compiles, checked without the compiler's own time."""
    network = small("mobilenet_v4_hybrid_medium")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.11 warns of its own torch.jit
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        assert torch.equal(compiled(images(2)), network(images(2)))
    torch.compiler.reset()
