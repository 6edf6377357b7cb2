"""Prints our parameters and multiply-adds beside those of timm's and torchvision's own modules, and who differs.

timm and torchvision are no dependencies of this project. Run this in an environment that has them:

    PYTHONPATH=src python benchmarks/peer_costs.py [--csv FILE]

Where torchvision's operators do not load beside a CPU build of torch, put a folder with a module `tvshim` that declares
them on PYTHONPATH as well. With --csv the rows are also written as `tests/arch/golden_cost.csv` holds them. The last
line is one line of JSON. About 40 s on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import create_spec

with contextlib.suppress(ModuleNotFoundError):
    import tvshim  # noqa: F401


class Peer(NamedTuple):
    """A peer's name for a network, and how `create_spec` is asked for the same."""

    library: str
    name: str
    ours: str
    settings: dict[str, Any] = {}  # noqa: RUF012
    differs: str = ""  # why the peer's network is another one


TIMM = (
    Peer("timm", "mobilenetv1_100", "mobilenet_v1"),
    Peer("timm", "mobilenetv1_125", "mobilenet_v1_125"),
    Peer("timm", "mobilenetv1_100h", "mobilenet_v1", {}, "timm adds a 1x1 convolution before pooling"),
    Peer("timm", "mobilenetv2_035", "mobilenet_v2_035"),
    Peer("timm", "mobilenetv2_050", "mobilenet_v2_050"),
    Peer("timm", "mobilenetv2_075", "mobilenet_v2_075"),
    Peer("timm", "mobilenetv2_100", "mobilenet_v2"),
    Peer("timm", "mobilenetv2_140", "mobilenet_v2_140"),
    Peer("timm", "mobilenetv2_110d", "mobilenet_v2_110", {"layer_multiplier": 1.2, "fixed_stem_and_head": True}),
    Peer("timm", "mobilenetv2_120d", "mobilenet_v2_120", {"layer_multiplier": 1.4, "fixed_stem_and_head": True}),
    Peer("timm", "mobilenetv3_small_050", "mobilenet_v3_small_050", {"fixed_stem": True}),
    Peer("timm", "mobilenetv3_small_075", "mobilenet_v3_small_075"),
    Peer("timm", "mobilenetv3_small_100", "mobilenet_v3_small"),
    Peer("timm", "mobilenetv3_large_075", "mobilenet_v3_large_075"),
    Peer("timm", "mobilenetv3_large_100", "mobilenet_v3_large"),
    Peer("timm", "mobilenetv3_large_150d", "mobilenet_v3_large_150", {}, "timm repeats V3's stages 1.2 times"),
    Peer("timm", "mobilenetv3_rw", "mobilenet_v3_large", {}, "timm leaves the bias of the hidden layer out"),
    Peer("timm", "tf_mobilenetv3_small_075", "mobilenet_v3_small_075", {"profile": "authors"}),
    Peer("timm", "tf_mobilenetv3_small_100", "mobilenet_v3_small", {"profile": "authors"}),
    Peer("timm", "tf_mobilenetv3_small_minimal_100", "mobilenet_v3_small_minimal", {"profile": "authors"}),
    Peer("timm", "tf_mobilenetv3_large_075", "mobilenet_v3_large_075", {"profile": "authors"}),
    Peer("timm", "tf_mobilenetv3_large_100", "mobilenet_v3_large", {"profile": "authors"}),
    Peer("timm", "tf_mobilenetv3_large_minimal_100", "mobilenet_v3_large_minimal", {"profile": "authors"}),
    Peer("timm", "mobilenetv4_conv_small_035", "mobilenet_v4_conv_small_035"),
    Peer("timm", "mobilenetv4_conv_small_050", "mobilenet_v4_conv_small_050"),
    Peer("timm", "mobilenetv4_conv_small", "mobilenet_v4_conv_small"),
    Peer("timm", "mobilenetv4_conv_medium", "mobilenet_v4_conv_medium"),
    Peer("timm", "mobilenetv4_conv_large", "mobilenet_v4_conv_large"),
    Peer("timm", "mobilenetv4_hybrid_medium", "mobilenet_v4_hybrid_medium"),
    Peer("timm", "mobilenetv4_hybrid_medium_075", "mobilenet_v4_hybrid_medium_075"),
    Peer("timm", "mobilenetv4_hybrid_large", "mobilenet_v4_hybrid_large"),
    Peer("timm", "mobilenetv4_hybrid_large_075", "mobilenet_v4_hybrid_large_075"),
)
TORCHVISION = (
    Peer("torchvision", "mobilenet_v2", "mobilenet_v2"),
    Peer("torchvision", "mobilenet_v3_small", "mobilenet_v3_small"),
    Peer("torchvision", "mobilenet_v3_large", "mobilenet_v3_large"),
)
COLUMNS = ("network", "settings", "resolution", "params", "macs", "peer", "source")


def count(module: nn.Module, resolution: int) -> tuple[int, int]:
    """Parameters, and multiply-adds of convolutions and linear layers counted by forward hooks."""
    macs = 0

    def hook(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        positions = output[0].numel() // output.shape[1]
        macs += weight.numel() * positions

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    with torch.inference_mode():
        module.eval()(torch.zeros(1, 3, resolution, resolution))
    return sum(p.numel() for p in module.parameters()), macs


def peers() -> Iterator[tuple[Peer, str, Callable[[], nn.Module]]]:
    """Every peer with its library's version and its constructor; a library that is absent is left out."""
    with contextlib.suppress(ModuleNotFoundError):
        import timm

        for peer in TIMM:
            yield peer, timm.__version__, lambda peer=peer: timm.create_model(peer.name)
    with contextlib.suppress(ModuleNotFoundError):
        import torchvision

        for peer in TORCHVISION:
            yield peer, torchvision.__version__, lambda peer=peer: torchvision.models.get_model(peer.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--csv", help="also write the rows of the peers that agree, as golden rows")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows, differing = [], []
    for peer, version, build in peers():
        resolution = 224
        theirs = count(build(), resolution)
        whole = cost(create_spec(peer.ours, **peer.settings), resolution=resolution)
        ours = (whole.params, whole.macs)
        agrees = theirs == ours
        note = "" if agrees else f"  DIFFERS by {ours[0] - theirs[0]:+,} {ours[1] - theirs[1]:+,} {peer.differs}"
        print(f"{peer.library:12}{peer.name:34}{theirs[0]:>12,}{theirs[1]:>15,}{note}")
        if agrees:
            settings = json.dumps(peer.settings) if peer.settings else ""
            source = f"{peer.library} {version.split('+')[0]}"
            rows.append((peer.ours, settings, resolution, *theirs, peer.name, source))
        else:
            differing.append({"peer": peer.name, "why": peer.differs})
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
    print(json.dumps({"equal": len(rows), "differing": differing}))


if __name__ == "__main__":
    main()
