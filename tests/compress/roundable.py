"""Networks and pictures to quantise: random, yet with statistics, ranges and logits that are far from trivial."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Spec, with_blocks
from mobilenets.compress.simulation import Simulation
from mobilenets.deploy.wrap import Shipped
from mobilenets.nn.network import build_network

SIZE = 32
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("mobilenet_v1_025", {}),
    ("mobilenet_v2", {"width": 0.35}),
    ("mobilenet_v3_small", {"width": 0.35}),
    ("mobilenet_v4_conv_small", {}),
]


@cache
def shipped(name: str = "mobilenet_v1_025", *, blocks: int | None = None, **settings: Any) -> Shipped:
    """The network of that name with 4 classes at 32 pixels, or its first `blocks` blocks; not to be changed."""
    spec = create_spec(name, **{"resolution": SIZE, "classes": 4, **settings})
    return random_weights(spec if blocks is None else short(spec, blocks))


def short(spec: Spec, blocks: int) -> Spec:
    """The first blocks of `spec` and its classifier."""
    kept = with_blocks(spec, spec.blocks[:blocks])
    return replace(kept, head=replace(spec.head, c_in=spec.blocks[blocks - 1].c_out))


def random_weights(spec: Spec, seed: int = 0) -> Shipped:
    """A network whose BatchNorms hold what its random layers really give, as after training."""
    torch.manual_seed(seed)
    network = build_network(spec)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = 1.0
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    mean, std = torch.tensor(spec.preprocessing.mean), torch.tensor(spec.preprocessing.std)
    seen = (torch.from_numpy(pictures(64, spec.resolution, seed=9)) - mean) / std
    with torch.no_grad():
        network.train()(seen.permute(0, 3, 1, 2).contiguous())
    return Shipped(network.eval())


def pictures(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """uint8 (count, size, size, 3): noise about a colour and a brightness of their own."""
    random = np.random.default_rng(seed)
    middle, spread = random.uniform(40, 215, (count, 1, 1, 3)), random.uniform(5, 60, (count, 1, 1, 1))
    return np.clip(random.normal(middle, spread, (count, size, size, 3)), 0, 255).astype(np.uint8)


def calibrated(module: Shipped, images: np.ndarray, *, per_channel: bool = True) -> Simulation:
    """Its int8 form with the ranges that those images have."""
    simulation = Simulation(module, images, per_channel=per_channel)
    simulation.watch(images)
    return simulation
