"""What each optimisation of the exported ONNX file is worth: the file beside a twin without it, in turns.

    python benchmarks/export_twins.py
    python benchmarks/export_twins.py --networks mobilenet_v2 --rounds 3 --seconds 0.5 --dry

The optimisations: the division by std folded into the first convolution, global pooling as GlobalAveragePool where the
exporter writes ReduceMean, and BatchNorm folded before the export. Each file runs in a process of its own on one
pinned thread. An optimisation earns its place where the file is faster beyond the spread of the rounds, or smaller;
otherwise the verdict is to keep the twin. A row per network is appended to benchmarks/results/export_twins.jsonl.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import torch
from torch import nn

from mobilenets.arch.registry import create_spec
from mobilenets.deploy import wrap
from mobilenets.deploy.contestant import worker_command, worker_environment
from mobilenets.deploy.runtimes import FLOAT32, runtime
from mobilenets.deploy.wrap import Shipped
from mobilenets.nn.network import Network, build_network
from turns import Arm, in_turns, ratios, where_and_when

ROWS = Path(__file__).resolve().parent / "results" / "export_twins.jsonl"
NETWORKS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small")
SHIPPED = "shipped"


def shipped(network: Network, folder: Path) -> Path:
    """The file as `export` writes it."""
    return _written(Shipped(network), folder)


def std_apart(network: Network, folder: Path) -> Path:
    """The division by std stays one multiplication of the image."""
    module = Shipped(network)
    if module.scale is None:
        std = torch.tensor(module.spec.preprocessing.std)
        first = next(layer for layer in module.network.modules() if isinstance(layer, nn.Conv2d))
        first.weight = nn.Parameter(first.weight * std.view(1, -1, 1, 1), requires_grad=False)
        module.scale = (1 / std).view(-1, 1, 1)
    return _written(module, folder)


def norms_apart(network: Network, folder: Path) -> Path:
    """BatchNorm is left to the exporter and the runtime."""

    def without_inplace(network: nn.Module) -> nn.Module:
        for layer in network.modules():
            if hasattr(layer, "inplace"):
                layer.inplace = False
        return network

    with mock.patch.object(wrap, "fold_", without_inplace):
        module = Shipped(network)
    return _written(module, folder)


def pooled_by_mean(network: Network, folder: Path) -> Path:
    """Global pooling is ReduceMean over height and width, as the exporter writes it."""
    path = shipped(network, folder)
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "spatial_axes"))
    for node in model.graph.node:
        if node.op_type == "GlobalAveragePool":
            node.op_type = "ReduceMean"
            node.input.append("spatial_axes")
            node.attribute.append(onnx.helper.make_attribute("keepdims", 1))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


TWINS: dict[str, Callable[[Network, Path], Path]] = {
    "std apart": std_apart,
    "ReduceMean": pooled_by_mean,
    "BatchNorm apart": norms_apart,
}


def _written(module: Shipped, folder: Path) -> Path:
    folder.mkdir()
    path, _ = runtime("onnx").write(module, folder, FLOAT32, {})
    return path


def compare(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The row of a network: every twin against the shipped file."""
    torch.manual_seed(0)
    network = build_network(create_spec(name, resolution=arguments.size, classes=1000)).eval()
    with tempfile.TemporaryDirectory() as root:
        arms, images = [], np.random.default_rng(0).integers(0, 256, (1, arguments.size, arguments.size, 3), np.uint8)
        outputs = {}
        for twin, make in {SHIPPED: shipped, **TWINS}.items():
            path = make(network, Path(root) / twin.replace(" ", "_"))
            outputs[twin] = runtime("onnx").open(path, 1).run(images)
            facts = {"bytes": path.stat().st_size, "nodes": len(onnx.load(path).graph.node)}
            command = worker_command("onnx", path, arguments.size, 1)
            arms.append(Arm(twin, command, worker_environment(), facts))
        found = in_turns(arms, 1, arguments.rounds, arguments.seconds)
    row: dict[str, Any] = {"network": name, "size": arguments.size, "rounds": arguments.rounds, "files": found}
    row["twins"] = {}
    for twin in TWINS:
        low, middle, high = ratios(found[twin]["round_ms"], found[SHIPPED]["round_ms"])
        smaller = found[SHIPPED]["bytes"] < 0.999 * found[twin]["bytes"]
        error = float(np.abs(outputs[twin] - outputs[SHIPPED]).max() / np.abs(outputs[SHIPPED]).max())
        row["twins"][twin] = {
            "twin_over_shipped": [round(value, 4) for value in (low, middle, high)],
            "relative_error": error,
            "verdict": "ship it" if low > 1 or smaller else "slower: keep the twin" if high < 1 else "no difference",
        }
    return row


def main() -> None:
    """Measures, prints, appends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round of each file")
    parser.add_argument("--dry", action="store_true", help="append no row")
    arguments = parser.parse_args()
    for name in arguments.networks.split(","):
        row = compare(name, arguments) | where_and_when()
        files = row["files"]
        print(f"{name}, {arguments.size} px: {files[SHIPPED]['ms']:.3f} ms, {files[SHIPPED]['nodes']} nodes")
        for twin, told in row["twins"].items():
            low, middle, high = told["twin_over_shipped"]
            size = files[twin]["bytes"] - files[SHIPPED]["bytes"]
            print(
                f"  {twin:16} takes {middle:.3f} times as long ({low:.3f} to {high:.3f}), "
                f"{files[twin]['nodes']} nodes, {size:+,} bytes: {told['verdict']}"
            )
        if not arguments.dry:
            with ROWS.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
