"""Prints our parameters and multiply-adds beside those of timm's, torchvision's and Keras' own networks.

None of the three is a dependency of this project; those that are installed take part. Run this in an environment that
has them (Keras on torch; where torchvision's operators do not load beside a CPU build of torch, put a module `tvshim`
that declares them on PYTHONPATH):

    PYTHONPATH=src python benchmarks/peer_costs.py [--csv tests/arch/golden_cost.csv]

With --csv the rows that agree are written as golden rows. Status 1 when a network differs that is not known to. The
last line is one line of JSON. About two minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import nn

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import create_spec, name_with_width

os.environ.setdefault("KERAS_BACKEND", "torch")
COLUMNS = ("network", "settings", "resolution", "params", "macs", "peer", "source")
WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4)


class Peer(NamedTuple):
    """A peer's network, how `create_spec` is asked for the same, and how the peer builds it."""

    name: str
    ours: str
    settings: dict[str, Any]
    count: Callable[[int], tuple[int, int]]  # resolution -> parameters, multiply-adds
    resolution: int = 224
    differs: str = ""  # why the peer's network is another one


# timm and torchvision: torch modules -------------------------------------------------------------------------------

TIMM_NAMES: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("mobilenetv1_100h", "mobilenet_v1", {}, "timm adds a 1x1 convolution to 1024 channels before pooling"),
    ("mobilenetv1_125", "mobilenet_v1_125", {}, ""),
    ("mobilenetv2_110d", "mobilenet_v2_110", {"layer_multiplier": 1.2, "fixed_stem_and_head": True}, ""),
    ("mobilenetv2_120d", "mobilenet_v2_120", {"layer_multiplier": 1.4, "fixed_stem_and_head": True}, ""),
    (
        "mobilenetv3_large_150d",
        "mobilenet_v3_large_150",
        {},
        "timm lengthens the stages by 1.2, keeps 1280 in the head",
    ),
    ("mobilenetv3_rw", "mobilenet_v3_large", {}, "timm: squeeze not rounded to 8, hidden layer without bias"),
    ("tf_mobilenetv3_small_075", "mobilenet_v3_small_075", {"profile": "authors"}, ""),
    ("tf_mobilenetv3_small_100", "mobilenet_v3_small", {"profile": "authors"}, ""),
    ("tf_mobilenetv3_small_minimal_100", "mobilenet_v3_small_minimal", {"profile": "authors"}, ""),
    ("tf_mobilenetv3_large_075", "mobilenet_v3_large_075", {"profile": "authors"}, ""),
    ("tf_mobilenetv3_large_100", "mobilenet_v3_large", {"profile": "authors"}, ""),
    ("tf_mobilenetv3_large_minimal_100", "mobilenet_v3_large_minimal", {"profile": "authors"}, ""),
)
TIMM_HEAD = "timm keeps the 1280 or 1024 of the head above width 1 as well"


def count_module(build: Callable[[], nn.Module], resolution: int) -> tuple[int, int]:
    """Parameters, and multiply-adds of convolutions and linear layers counted by forward hooks."""
    macs = 0

    def hook(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        macs += weight.numel() * (output[0].numel() // output.shape[1])

    module = build().eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    with torch.inference_mode():
        module(torch.zeros(1, 3, resolution, resolution))
    return sum(p.numel() for p in module.parameters()), macs


def timm_peers(timm: Any) -> Iterator[Peer]:
    """timm's named networks, and its generators at every width."""
    for name, ours, settings, differs in TIMM_NAMES:
        yield Peer(name, ours, settings, partial(count_module, partial(timm.create_model, name)), differs=differs)
    v1_and_v2, v3_and_v4 = import_module("timm.models.efficientnet"), import_module("timm.models.mobilenetv3")
    families = [
        (v1_and_v2._gen_mobilenet_v1, "mobilenetv1_100", "mobilenet_v1"),
        (v1_and_v2._gen_mobilenet_v2, "mobilenetv2_100", "mobilenet_v2"),
        (v3_and_v4._gen_mobilenet_v3, "mobilenetv3_small_100", "mobilenet_v3_small"),
        (v3_and_v4._gen_mobilenet_v3, "mobilenetv3_large_100", "mobilenet_v3_large"),
        *(
            (v3_and_v4._gen_mobilenet_v4, f"mobilenetv4_{size}", f"mobilenet_v4_{size}")
            for size in ("conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large")
        ),
    ]
    for generate, name, ours in families:
        for width in WIDTHS:
            settings = {"fixed_stem": True} if "_v3_" in ours and width < 0.75 else {}
            differs = ""
            if "_v1" in ours and width in (0.35, 1.4):
                differs = "timm rounds V1's channels to multiples of 8, the authors' code cuts them off"
            elif width > 1 and ("_v3_" in ours or "_v4_" in ours):
                differs = TIMM_HEAD
            count = partial(count_module, partial(generate, name, width))
            yield Peer(f"{name} x {width:g}", name_with_width(ours, width), settings, count, differs=differs)


def torchvision_peers(torchvision: Any) -> Iterator[Peer]:
    """torchvision's networks at every width."""
    for name, ours in (
        ("mobilenet_v2", "mobilenet_v2"),
        ("mobilenet_v3_small", "mobilenet_v3_small"),
        ("mobilenet_v3_large", "mobilenet_v3_large"),
    ):
        for width in WIDTHS:
            differs = "torchvision scales the printed expanded size, and the head below width 1"
            if "v3" in name:
                build = partial(_torchvision_v3, torchvision, name, width)
            else:
                build = partial(torchvision.models.get_model, name, width_mult=width)
            known = differs if "v3" in name and width != 1 else ""
            count = partial(count_module, build)
            yield Peer(f"{name} x {width:g}", name_with_width(ours, width), {}, count, differs=known)


def _torchvision_v3(torchvision: Any, name: str, width: float) -> nn.Module:
    module = torchvision.models.mobilenetv3
    setting, last = module._mobilenet_v3_conf(name, width_mult=width)
    return module.MobileNetV3(setting, last)


# Keras: functional models ------------------------------------------------------------------------------------------


KERAS_LAST = "Keras makes the last convolution six times as wide as the scaled layer before it"


def count_keras(build: Callable[..., Any], resolution: int) -> tuple[int, int]:
    """Trainable parameters, and multiply-adds of every layer that has a kernel, from its output's shape."""
    model = build(input_shape=(resolution, resolution, 3), weights=None)
    macs = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            macs += math.prod(kernel.shape) * math.prod(layer.output.shape[1:-1])
    return sum(math.prod(w.shape) for w in model.trainable_weights), macs


def keras_peers(keras: Any) -> Iterator[Peer]:
    """keras.applications at every width, V1 with two filters per input channel, V3 minimalistic.

    One width of V2 and V3 at an odd size; V1's strided layers pad one side there and lose a row of pixels.
    """
    apps = keras.applications
    families: tuple[tuple[Any, dict[str, Any], str, dict[str, Any]], ...] = (
        (apps.MobileNet, {}, "mobilenet_v1", {}),
        (apps.MobileNet, {"depth_multiplier": 2}, "mobilenet_v1", {"channels_per_input": 2}),
        (apps.MobileNetV2, {}, "mobilenet_v2", {}),
        (apps.MobileNetV3Small, {}, "mobilenet_v3_small", {}),
        (apps.MobileNetV3Large, {}, "mobilenet_v3_large", {}),
        (apps.MobileNetV3Small, {"minimalistic": True}, "mobilenet_v3_small_minimal", {}),
        (apps.MobileNetV3Large, {"minimalistic": True}, "mobilenet_v3_large_minimal", {}),
    )
    for build, arguments, ours, settings in families:
        shown = "".join(f" {key}={value}" for key, value in arguments.items())
        for width in WIDTHS:
            v3 = "_v3_" in ours
            odd = width == 0.5 and build is not apps.MobileNet
            resolution = 97 if odd else 224
            count = partial(count_keras, partial(build, alpha=width, **arguments))
            name = f"{build.__name__}{shown} x {width:g}"
            extra = ({"fixed_stem": True} if v3 and width != 1 else {}) | ({"padding": "same"} if odd else {})
            differs = KERAS_LAST if "_v3_small" in ours and width in (0.35, 1.4) else ""
            yield Peer(name, name_with_width(ours, width), settings | extra, count, resolution, differs)


LIBRARIES: dict[str, Callable[[Any], Iterator[Peer]]] = {
    "timm": timm_peers,
    "torchvision": torchvision_peers,
    "keras": keras_peers,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="our costs beside timm's, torchvision's and Keras'")
    parser.add_argument("--csv", help="also write the rows that agree, as golden rows")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with contextlib.suppress(ModuleNotFoundError):
        import_module("tvshim")
    rows, known, unknown = [], [], []
    for library, list_peers in LIBRARIES.items():
        try:
            module = import_module(library)
        except ModuleNotFoundError:
            print(f"{library} is not installed: left out")
            continue
        source = f"{library} {module.__version__.split('+')[0]}"
        for peer in list_peers(module):
            params, macs = peer.count(peer.resolution)
            whole = cost(create_spec(peer.ours, **peer.settings), resolution=peer.resolution)
            note = ""
            if (params, macs) == (whole.params, whole.macs):
                settings = json.dumps(peer.settings) if peer.settings else ""
                rows.append((peer.ours, settings, peer.resolution, params, macs, peer.name, source))
            else:
                (known if peer.differs else unknown).append(f"{library} {peer.name}")
                note = (
                    f"  differs by {whole.params - params:+,} {whole.macs - macs:+,}: {peer.differs or 'UNKNOWN WHY'}"
                )
            print(f"{library:12}{peer.name:46}{params:>12,}{macs:>15,}{note}", flush=True)
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    print(json.dumps({"equal": len(rows), "known_to_differ": known, "differing": unknown}))
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
