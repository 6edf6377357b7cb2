"""How fast the exported files are beside what a user gets by default: every runtime and precision, in turns.

    python benchmarks/runtimes.py --peer-python PEERS/bin/python
    python benchmarks/runtimes.py --networks mobilenet_v2 --threads 1 --rounds 1 --seconds 0.2 --dry
    python benchmarks/runtimes.py --table

For each network a Bundle with a file for every runtime and precision that is installed and runs here (random weights,
int8 calibrated with --data); beside it PyTorch eager (our network, float32, channels first, inference_mode),
torchvision's and timm's networks run the same way, Keras' predict (on JAX, or what KERAS_BACKEND says), and the file
that torch.onnx.export writes by its defaults in onnxruntime. Each is a process of its own, pinned to as many processors
as threads; after a round of warm-up the rounds are taken in turns, and the figure is the median of the rounds' medians.
What cannot run is skipped with one line. Rows, one for each network and number of threads, are appended to
benchmarks/results/runtimes.jsonl; those that are there for this machine are not measured again (--again does). The
peers need an environment of their own with torch, timm, torchvision, keras and a backend (PYTHONPATH may hold a shim).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from mobilenets.arch.registry import create_spec
from mobilenets.console import say
from mobilenets.deploy.auto import why_untried
from mobilenets.deploy.bundle import is_bundle, open_bundle
from mobilenets.deploy.contestant import SOURCE, worker_command, worker_environment
from mobilenets.deploy.export import Source, write_bundle
from mobilenets.deploy.gates import GATES, GOLDEN
from mobilenets.deploy.load import load
from mobilenets.deploy.machine import best_cores, machine
from mobilenets.deploy.plan import plan_files
from mobilenets.deploy.runtimes import RUNTIMES, runtime
from mobilenets.nn.network import build_network
from turns import Arm, in_turns, where_and_when

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "runtimes.jsonl"
WORKER = HERE / "peers" / "default_worker.py"
NETWORKS = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v4_conv_small",
)
EAGER = "PyTorch eager"
PEERS = {EAGER: "eager", "torchvision eager": "torchvision", "timm eager": "timm", "Keras predict": "keras"}
PLAIN = "plain ONNX export"


def files_of(network: str, folder: Path, arguments: argparse.Namespace) -> Path:
    """`folder`, with all files of a network that can be made and run here; what is there already is used again."""
    plain = folder / "plain.onnx"
    if not is_bundle(folder / "bundle"):
        write_files(network, folder / "bundle", arguments)
    if not plain.is_file():
        plain_onnx(network, arguments.size, plain)
    return folder


def write_files(network: str, folder: Path, arguments: argparse.Namespace) -> None:
    """The Bundle."""
    names = []
    for name in RUNTIMES:
        reason = why_untried(name)
        if reason is None:
            names.append(name)
        else:
            say(f"skipped: {name}: {reason}")
    spec = create_spec(network, resolution=arguments.size)
    torch.manual_seed(0)
    loaded = replace(load(network, random=True), spec=spec, make_network=partial(build_network, spec))
    source = Source(loaded, Path(arguments.data), None, arguments.calibration_images)
    failed: dict[tuple[str, str], str] = {}
    plan = plan_files([runtime(name) for name in names], tuple(GATES))
    with mock.patch.dict(GOLDEN, int8=math.inf):  # how near int8 comes says nothing where the weights are random
        write_bundle(folder, source, plan, failed)
    for (name, precision), reason in failed.items():
        say(f"skipped: {name} {precision}: {reason}")


def plain_onnx(network: str, size: int, path: Path) -> None:
    """The network as torch.onnx.export writes it by its defaults."""
    torch.manual_seed(0)
    built = build_network(create_spec(network, resolution=size, classes=1000)).eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(built, (torch.zeros(1, 3, size, size),), str(path))


def arms_of(network: str, folder: Path, threads: int, arguments: argparse.Namespace) -> list[Arm]:
    """Every file of the Bundle and every default."""
    bundle = open_bundle(folder / "bundle")
    arms = []
    for model in bundle.models:
        command = worker_command(model.runtime, bundle.path / model.path, bundle.spec.resolution, threads)
        facts = {"size_mb": model.size_mb}
        arms.append(Arm(f"{model.runtime} {model.precision}", command, worker_environment(), facts))
    cores = ",".join(map(str, best_cores(threads) or ()))
    common = [network, str(arguments.size), str(threads), cores]
    here = {"PYTHONPATH": SOURCE}
    for name, kind in PEERS.items():
        ours = name == EAGER
        if not ours and not arguments.peer_python:
            say(f"skipped: {name}: no --peer-python")
            continue
        python = sys.executable if ours else arguments.peer_python
        arms.append(Arm(name, [python, str(WORKER), kind, *common], here if ours else {}))
    file = str(folder / "plain.onnx")
    return [*arms, Arm(PLAIN, [sys.executable, str(WORKER), "onnx", *common, file])]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """All rows that were appended."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def is_there(rows: Iterable[dict[str, Any]], network: str, threads: int, size: int) -> bool:
    """Whether a row of this network was measured on this machine."""
    key = (network, threads, size, kind_of(machine()))
    return any((row["network"], row["threads"], row["size"], kind_of(row["machine"])) == key for row in rows)


def kind_of(told: dict[str, Any]) -> tuple[str, ...]:
    """The processor's name and its instructions: clouds call different ones by one name."""
    return told["cpu"], *told.get("instructions", ())


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: a line for each arm, a column for each network and number of threads, milliseconds.

    In brackets: how many times as fast as PyTorch eager in the same run. Of the machines the last that was measured is
    shown, and of rows that say the same the last.
    """
    rows = list(rows)
    last = kind_of(rows[-1]["machine"]) if rows else None
    latest = {(row["network"], row["threads"]): row for row in rows if kind_of(row["machine"]) == last}
    keys = sorted(latest, key=lambda key: (key[1], NETWORKS.index(key[0]) if key[0] in NETWORKS else len(NETWORKS)))
    arms = list(dict.fromkeys(arm for key in keys for arm in latest[key]["arms"]))
    heads = [f"{name.removeprefix('mobilenet_')}, {count}" for name, count in keys]
    lines = [["network, threads", *heads], ["---", *["---:"] * len(keys)]]
    for arm in arms:
        cells = []
        for key in keys:
            found = latest[key]["arms"]
            eager = found.get(EAGER)
            ms = found[arm]["ms"] if arm in found else None
            ratio = f" ({eager['ms'] / ms:.1f}×)" if ms and eager and arm != EAGER else ""
            cells.append("–" if ms is None else f"{ms:.2f}{ratio}")
        lines.append([arm, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measures what is not there yet, prints, appends; or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round of each arm")
    parser.add_argument("--data", default="hands", help="images to calibrate int8 with")
    parser.add_argument("--calibration-images", type=int, default=64)
    parser.add_argument("--peer-python")
    parser.add_argument("--files", help="folder that keeps the files, which take minutes, for the next time")
    parser.add_argument("--write", action="store_true", help="write the files and measure nothing")
    parser.add_argument("--again", action="store_true", help="measure also what is there for this machine")
    parser.add_argument("--dry", action="store_true", help="append no row")
    parser.add_argument("--table", action="store_true", help="print the rows that are there as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(rows_of(ROWS)))
        return
    counts = [int(word) for word in arguments.threads.split(",")]
    for network in arguments.networks.split(","):
        missing = [n for n in counts if arguments.again or not is_there(rows_of(ROWS), network, n, arguments.size)]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = files_of(network, Path(arguments.files or scratch) / f"{network}_{arguments.size}", arguments)
            for threads in [] if arguments.write else missing:
                arms = arms_of(network, folder, threads, arguments)
                found = in_turns(arms, threads, arguments.rounds, arguments.seconds)
                row = {"network": network, "size": arguments.size, "threads": threads, "rounds": arguments.rounds}
                row["seconds"] = arguments.seconds
                row |= {"arms": found, "torch": torch.__version__} | where_and_when()
                print(f"\n{network}, {arguments.size} px, {threads} threads")
                for name, told in sorted(found.items(), key=lambda item: item[1]["ms"]):
                    spread = max(told["round_ms"]) / min(told["round_ms"]) - 1
                    ratio = found[EAGER]["ms"] / told["ms"] if EAGER in found else float("nan")
                    print(f"  {told['ms']:8.2f} ms  spread {spread:4.0%}  {ratio:5.2f} times eager  {name}")
                sys.stdout.flush()
                if not arguments.dry:
                    with ROWS.open("a") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
