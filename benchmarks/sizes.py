"""How large the files are: five networks, float32, weights8 and int8 of the runtimes that have weights8.

    python benchmarks/sizes.py                  # five minutes on one core; with litert-torch and torchao
    python benchmarks/sizes.py --networks mobilenet_v2

224 pixels, 1,000 classes. A size does not depend on what the weights are, so these are random, and int8 is calibrated
with noise. Prints a table in Markdown, MB of all parts of a file and in brackets its share of float32's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from mobilenets.arch.registry import create_spec
from mobilenets.compress.static import quantise
from mobilenets.deploy.manifest import properties
from mobilenets.deploy.runtimes import FLOAT32, INT8, WEIGHTS8, runtime
from mobilenets.deploy.wrap import Shipped
from mobilenets.nn.network import build_network

NETWORKS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v4_conv_small")
RUNTIMES = ("onnx", "openvino", "litert")  # web ships onnx's
PRECISIONS = (FLOAT32, WEIGHTS8, INT8)


def main() -> None:
    """Writes every file, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    names = parser.parse_args().networks
    columns = {name: sizes(name) for name in names}
    print("| MB | " + " | ".join(name.removeprefix("mobilenet_") for name in names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for place in RUNTIMES:
        for precision in PRECISIONS:
            print(f"| {place} {precision} | " + " | ".join(shown(columns[n], place, precision) for n in names) + " |")


def sizes(name: str) -> dict[tuple[str, str], int]:
    """Bytes by runtime and precision."""
    torch.manual_seed(0)
    spec = create_spec(name)
    shipped = Shipped(build_network(spec).eval())
    side = spec.resolution
    quantised = quantise(shipped, np.random.default_rng(0).integers(0, 256, (4, side, side, 3), dtype=np.uint8))
    said = properties(spec, [{"name": f"class {index}"} for index in range(spec.head.classes)])
    found = {}
    for place in RUNTIMES:
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                runtime(place).write(quantised if precision == INT8 else shipped, Path(folder), precision, said)
                found[place, precision] = sum(part.stat().st_size for part in Path(folder).iterdir())
    return found


def shown(found: dict[tuple[str, str], int], place: str, precision: str) -> str:
    """A cell: MB, and the share of the float32 file."""
    share = found[place, precision] / found[place, FLOAT32]
    return f"{found[place, precision] / 1e6:.2f}" + (
        "" if precision == FLOAT32 else f" ({share:.0%})".replace("%", " %")
    )


if __name__ == "__main__":
    main()
