"""Networks with weights that a test can learn from, and what to compare their logits with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.arch.spec import Block, Spec, with_blocks
from mobilenets.deploy.load import TorchSession
from mobilenets.deploy.runtimes import Runtime
from mobilenets.deploy.wrap import Shipped
from mobilenets.nn.blocks import MobileMQA
from mobilenets.nn.layers import LayerScale
from mobilenets.nn.network import Network, build_network

FAMILIES = (  # one of each sort
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v4_conv_small",
    "mobilenet_v4_hybrid_medium",
)


def lively(spec: Spec) -> Network:
    """A network whose statistics, scales and logits are far from trivial, yet rounding is not amplified."""
    torch.manual_seed(1)
    network = build_network(spec)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, LayerScale):
            nn.init.uniform_(module.gamma, 0.1, 0.3)
        elif isinstance(module, MobileMQA):
            nn.init.normal_(module.query.weight, std=0.005)  # attention that is not saturated
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = 1.0
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    with torch.no_grad():  # statistics of real activations, so that no layer's output explodes
        network.train()(torch.randn(8, 3, spec.resolution, spec.resolution))
    for module in norms:
        assert module.running_var is not None
        noise = torch.empty_like(module.running_var).uniform_(0.8, 1.2)
        module.running_var.mul_(noise).clamp_(min=0.1)  # a channel that hardly varies would blow rounding up
    return network.eval()


def pictures(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Within 1e-4 of the largest value, which must be a number worth comparing."""
    largest = np.abs(expected).max()
    assert 1e-3 < largest < 1e6
    assert np.abs(found - expected).max() <= 1e-4 * largest


def assert_parity(runtime: Runtime, spec: Spec, folder: Path, files: Sequence[str]) -> dict[str, Any]:
    """The float32 file computes what the network computes, one image or three; `files` are all there is. Its facts."""
    network = lively(spec)
    path, facts = runtime.write(Shipped(network), folder, "float32", {"network": spec.name})
    session = runtime.open(path, 1)
    for count in (1, 3):
        images = pictures(count, spec.resolution)
        assert_close(session.run(images), TorchSession(network).run(images))
    assert sorted(entry.name for entry in folder.iterdir()) == list(files)
    return facts


def shortened(spec: Spec) -> Spec:
    """`spec` with one block of each sort: a repeated residual block teaches a test nothing."""
    kept: list[Block] = []
    for block in spec.blocks:
        sort = (block.kind, block.k_start, block.k_mid, bool(block.c_se), block.act, block.k_kv, block.residual)
        seen = {(b.kind, b.k_start, b.k_mid, bool(b.c_se), b.act, b.k_kv, b.residual) for b in kept}
        if not block.residual or sort not in seen:
            kept.append(block)
    return with_blocks(spec, tuple(kept))
