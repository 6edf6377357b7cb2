"""The one table of a quantised network: int8 weights, their scales, biases, and the scale of every activation.

Every runtime's file is lowered from it, so that all hold the same integers. Its place in a Run is `files.TABLE`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..arch.spec import Spec
from ..errors import UserError
from ..training.checkpoint import load_tensors, save_tensors
from .simulation import Simulation

FORMAT = 2  # 1 had weights that overflow on x86 without VNNI, see `pairs`


@dataclass(frozen=True)
class Table:
    """`tensors` by name: `LAYER/weight` (int8; float32 where it stays float), `LAYER/weight/scale`, `LAYER/bias`, and
    `POINT/scale`, `POINT/zero_point` of each activation. `floats` are the points that do not round."""

    tensors: dict[str, Tensor]
    floats: tuple[str, ...]


def table_of(simulation: Simulation) -> Table:
    """The table of a calibrated and repaired network."""
    tensors: dict[str, Tensor] = {}
    weights = set()
    for layer in simulation.layers.values():
        weight, bias = simulation.weight(layer), simulation.bias(layer)
        if layer.weight is None or not simulation.rounds(layer):
            tensors[f"{layer.name}/weight"] = weight
        else:
            tensors[f"{layer.name}/weight"] = simulation.integers(layer)
            tensors[f"{layer.weight}/scale"] = simulation.points[layer.weight].scale
        weights.add(layer.weight)
        if bias is not None:
            tensors[f"{layer.name}/bias"] = bias
    for name, point in simulation.points.items():
        if name not in weights and name not in simulation.floats:
            tensors[f"{name}/scale"], tensors[f"{name}/zero_point"] = point.scale, point.zero_point
    return Table({name: tensor.detach().clone() for name, tensor in tensors.items()}, tuple(sorted(simulation.floats)))


def save_table(path: str | os.PathLike[str], table: Table) -> None:
    """Writes the table, whole or not at all."""
    save_tensors(path, table.tensors, {"format": FORMAT, "floats": list(table.floats)})


def load_table(path: str | os.PathLike[str]) -> Table:
    """The table in that file. Raises UserError where it is missing, damaged or of a later format."""
    tensors, header = load_tensors(path)
    if header.get("format") != FORMAT or not isinstance(header.get("floats"), list):
        raise UserError(
            f"{path}: a table of quantisation of format {header.get('format')}; known: {FORMAT}; quantize it again"
        )
    return Table(tensors, tuple(header["floats"]))


@torch.no_grad()
def simulation_of(table: Table, module: nn.Module) -> Simulation:
    """The network of a table, ready to run or to be converted; `module` is its float network as it ships.

    Raises UserError where the table is of another network.
    """
    spec: Spec = module.spec  # type: ignore[assignment]
    size = spec.resolution
    per_channel = all(
        t.numel() > 1 or len(table.tensors.get(n.removesuffix("/scale"), t)) == 1 for n, t in _scales(table)
    )
    found = Simulation(module, np.zeros((1, size, size, 3), np.uint8), per_channel=per_channel)
    used = set()

    def take(name: str, shape: torch.Size | None = None) -> Tensor:
        if name not in table.tensors or (shape is not None and table.tensors[name].shape != shape):
            raise UserError(
                f"the table of quantisation does not fit the network: {name} is missing or has another size"
            )
        used.add(name)
        return table.tensors[name]

    weights = set()
    for layer in found.layers.values():
        weight = found.weight(layer)
        value = take(f"{layer.name}/weight", weight.shape)
        weights.add(layer.weight)
        if value.dtype == torch.int8:
            assert layer.weight is not None
            point = found.points[layer.weight]
            scale = point.scale = take(f"{layer.weight}/scale", point.scale.shape)
            value = value.float() * scale.view(-1, *[1] * (weight.ndim - 1))
        weight.copy_(value)
        if (bias := found.bias(layer)) is not None:
            bias.copy_(take(f"{layer.name}/bias", bias.shape))
    found.floats = frozenset(str(name) for name in table.floats)
    if unknown := sorted(found.floats - found.points.keys()):
        raise UserError(f"the table of quantisation does not fit the network: it leaves {unknown[0]} in float")
    for name, point in found.points.items():
        if name not in weights and name not in found.floats:
            point.scale = take(f"{name}/scale", point.scale.shape)
            point.zero_point = take(f"{name}/zero_point", point.zero_point.shape)
    if left := sorted(table.tensors.keys() - used):
        raise UserError(f"the table of quantisation does not fit the network: it has {left[0]} too much")
    return found


def _scales(table: Table) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in table.tensors.items() if name.endswith("/weight/scale")]
