"""NetAdapt to half the measured latency, against the width multiplier at the same latency, for the same wall time.

    python benchmarks/prune.py                  # all arms; three seeds
    python benchmarks/prune.py --seeds 1        # one seed, so that several processes can share the seeds
    python benchmarks/prune.py --table

The base is V2 1.0 at 128 pixels, from published weights, fine-tuned on rps_hands for --minutes on one thread. Every arm
has --minutes more on one thread and learns from the base: `prune --method netadapt` and `--method uniform` (the width
multiplier with the base's weights, those that matter most kept) begin with its weights, search included; `width` is the
widest V2 built anew that is as fast, from random weights, and has the base's minutes on top. At the end the exported
float32 files of all are run in onnxruntime, in turns with the base's. Runs are kept in --runs, and rows appended to
benchmarks/results/prune.jsonl; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from from_scratch import machine
from mobilenets import train
from mobilenets.arch.cost import cost
from mobilenets.arch.registry import create_spec
from mobilenets.deploy.latency.stopwatch import Stopwatch
from mobilenets.deploy.latency.variants import Variants
from mobilenets.deploy.prune import prune
from mobilenets.deploy.runtimes import runtime
from mobilenets.nn.network import build_network
from mobilenets.training.run import open_run, read_json

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "prune.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
DATA = "data/rps_hands"
PUBLISHED = "weights/tflite/mobilenet_v2_1.0_224_quant/mobilenet_v2_1.0_224_quant.tflite"
SIZE, KEEP, TARGET = 128, 0.5, "onnx"
ARMS = ("base", "netadapt", "uniform", "width")


def main() -> None:
    """Runs what is not yet in the rows, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/prune"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.table:
        for seed in (int(word) for word in given.seeds.split(",")):
            if not any(row["seed"] == seed and row["minutes"] == given.minutes for row in read_rows()):
                append(measure(seed, given))
    print_table()


def measure(seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """The row of a seed: every arm's accuracy and latency."""
    folder = given.runs / f"{seed}-{given.minutes:g}"
    runs = {arm: folder / arm for arm in ARMS}
    data = SHARED / DATA
    common: dict[str, Any] = {"minutes": given.minutes, "seed": seed, "threads": 1}
    train(data, weights=SHARED / PUBLISHED, resolution=SIZE, out=runs["base"], **common)
    for method in ("netadapt", "uniform"):
        prune(runs["base"], runs[method], keep=KEEP, target=TARGET, method=method, minutes=given.minutes, seed=seed)
    width = widest(runs["base"], folder)
    anew: dict[str, Any] = {
        "model": "mobilenet_v2",
        "width": width,
        "resolution": SIZE,
        "teacher": runs["base"],
        "temperature": 1.0,
    }
    train(data, out=runs["width"], **anew, **common | {"minutes": 2 * given.minutes})
    times = in_turns(runs)
    arms = {}
    for arm, run in runs.items():
        evaluation, whole = read_json(run / "evaluation.json"), cost(open_run(run).spec)
        arms[arm] = {name: evaluation[name] for name in ("top1", "top1_interval", "images", "split")}
        arms[arm] |= {"macs": whole.macs, "params": whole.params, "latency": times[arm]}
    return {"seed": seed, "minutes": given.minutes, "width": width, "keep": KEEP, "arms": arms} | machine()


def widest(base: Path, folder: Path) -> float:
    """The largest width multiplier, in steps of 0.05, whose V2 takes at most KEEP of the base's time."""
    kept = folder / "width.json"
    if kept.is_file():
        found: float = json.loads(kept.read_text())
        return found
    with tempfile.TemporaryDirectory() as place:
        network = open_run(base).network()
        variants = Variants(runtime(TARGET), network, Path(place))
        watch = Stopwatch(runtime(TARGET), variants.export(network), SIZE)
        steps = range(19, 1, -1)
        for step in steps:
            spec = create_spec("mobilenet_v2", width=step / 20, resolution=SIZE, classes=network.spec.head.classes)
            if watch.measure(variants.export(build_network(spec).eval())) <= KEEP * watch.base_ms:
                kept.write_text(json.dumps(step / 20))
                return step / 20
    raise SystemExit("no width is fast enough")


def in_turns(runs: dict[str, Path]) -> dict[str, float]:
    """The time of each arm's exported file as a part of the base's."""
    with tempfile.TemporaryDirectory() as place:
        networks = {arm: open_run(run).network() for arm, run in runs.items()}
        variants = Variants(runtime(TARGET), networks["base"], Path(place))
        watch = Stopwatch(runtime(TARGET), variants.export(networks["base"]), SIZE)
        return {arm: watch.measure(variants.export(network)) / watch.base_ms for arm, network in networks.items()}


def read_rows() -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def append(row: dict[str, Any]) -> None:
    """Adds a row."""
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a") as file:
        file.write(json.dumps(row) + "\n")


def print_table() -> None:
    """Mean and each seed of every arm."""
    rows = sorted(read_rows(), key=lambda row: row["seed"])
    for arm in ARMS if rows else ():
        found = [row["arms"][arm] for row in rows]
        scores, times = [100 * each["top1"] for each in found], [each["latency"] for each in found]
        print(
            f"{arm:13} top-1 {statistics.mean(scores):.1f} % ({', '.join(f'{score:.1f}' for score in scores)}), "
            f"{statistics.mean(times):.2f} of the base's time ({', '.join(f'{time:.2f}' for time in times)}), "
            f"{statistics.mean(each['macs'] / 1e6 for each in found):.0f} M MACs, {found[0]['images']} images"
        )


if __name__ == "__main__":
    main()
