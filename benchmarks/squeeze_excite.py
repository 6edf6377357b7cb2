"""What squeeze-and-excite costs in time: V3 with and without it, in onnxruntime on one thread.

    taskset -c 1 python benchmarks/squeeze_excite.py

The networks differ in that alone, and have random weights. The clock is the processor time of the process, which other
programs disturb little: rounds of twenty pictures of 224 px, the two files in turn, one round dropped. Printed: the
median of each, and the median of the ratios round by round with the least and the most. The last line is one line of
JSON; rows are appended to benchmarks/results/squeeze_excite.jsonl. About a minute on one core.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import onnxruntime

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Spec
from mobilenets.deploy.runtimes import Session
from mobilenets.deploy.runtimes.onnx import ONNX
from mobilenets.deploy.wrap import Shipped
from mobilenets.nn.network import build_network

NETWORKS = ("mobilenet_v3_large", "mobilenet_v3_small")
ROUNDS, PICTURES = 15, 20
RESULTS = Path(__file__).resolve().parent / "results" / "squeeze_excite.jsonl"


def without(spec: Spec) -> Spec:
    """The same network with no squeeze-and-excite."""
    return replace(spec, blocks=tuple(replace(block, c_se=0) for block in spec.blocks))


def session(spec: Spec, folder: Path) -> Session:
    """Its ONNX file, opened for one thread."""
    folder.mkdir()
    path, _ = ONNX.write(Shipped(build_network(spec)), folder, "float32", {})
    return ONNX.open(path, 1)


def milliseconds(opened: Session, picture: np.ndarray) -> float:
    """Processor time for one picture."""
    start = time.process_time()
    for _ in range(PICTURES):
        opened.run(picture)
    return (time.process_time() - start) * 1000 / PICTURES


def measure(name: str) -> dict[str, object]:
    """Both forms of one network, in turn."""
    spec = create_spec(name)
    picture = np.random.default_rng(0).integers(0, 256, (1, spec.resolution, spec.resolution, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        forms = {
            "with": session(spec, Path(folder) / "with"),
            "without": session(without(spec), Path(folder) / "without"),
        }
        rounds = [{form: milliseconds(opened, picture) for form, opened in forms.items()} for _ in range(ROUNDS + 1)][
            1:
        ]
    ratios = [each["with"] / each["without"] for each in rounds]
    return {
        "network": name,
        **{f"{form}_ms": round(statistics.median(each[form] for each in rounds), 3) for form in forms},
        "ratio": [round(value, 3) for value in (min(ratios), statistics.median(ratios), max(ratios))],
        "onnxruntime": onnxruntime.__version__,
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
    }


def main() -> None:
    found = [measure(name) for name in NETWORKS]
    for row in found:
        least, median, most = row["ratio"]  # type: ignore[misc]
        print(f"{row['network']}: {row['with_ms']} ms with, {row['without_ms']} ms without: {median} ({least}-{most})")
    with RESULTS.open("a") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
