"""Whole epochs of `train` beside Ultralytics' trainer: V2 from random weights on a folder, each by its defaults.

    python benchmarks/train_epochs.py --peer-python PEERS/bin/python

Loading, augmentation and steps count, scoring does not; the first epoch of each, which fills the caches, is left out.
The two are trained in turns, and the ratio is taken round by round. A row is appended to
benchmarks/results/train_epochs.jsonl. The peer needs an environment with torch, torchvision and ultralytics (PYTHONPATH
may hold a shim).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from from_scratch import machine
from mobilenets import train

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "train_epochs.jsonl"
WORKER = HERE / "peers" / "ultralytics_worker.py"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))


def main() -> None:
    """Measures, prints, appends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SHARED / "data/rps_hands"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", required=True)
    given = parser.parse_args()
    every = os.cpu_count() or 1
    arms: dict[str, Callable[[], list[float]]] = {
        "ours": lambda: ours(given),
        "ultralytics": lambda: theirs(given),
        "ultralytics, all threads": lambda: theirs(given, every),
    }
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(given.rounds):
        for arm in sorted(arms, reverse=bool(number % 2)):
            speeds[arm].append(statistics.median(arms[arm]()[1:]))
            print(f"{arm}: {speeds[arm][-1]:.1f} images per second", flush=True)
    best = max(list(speeds)[1:], key=lambda name: statistics.median(speeds[name]))
    ratios = sorted(a / b for a, b in zip(speeds["ours"], speeds[best]))
    row: dict[str, Any] = {"network": "mobilenet_v2", "size": given.size, "batch": given.batch, "epochs": given.epochs}
    row |= {"images_per_second": speeds, "their_best": best}
    row["ratio"] = [ratios[0], statistics.median(ratios), ratios[-1]]
    print(f"ours {row['ratio'][1]:.2f} times as fast as {best} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    with ROWS.open("a") as file:
        file.write(json.dumps(row | machine()) + "\n")


def ours(given: argparse.Namespace) -> list[float]:
    """Images per second of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = {"resolution": given.size, "batch_size": given.batch, "set": ["train_resolution=1"]}  # as theirs
        train(given.data, model="mobilenet_v2", out=run, epochs=given.epochs, **settings)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["images_per_second"] for row in rows]


def theirs(given: argparse.Namespace, threads: int | None = None) -> list[float]:
    """The same of Ultralytics, with as many threads as it takes by itself or with `threads`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [given.peer_python, str(WORKER), given.data, given.size, given.batch, given.epochs, folder]
        command += [] if threads is None else [threads]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
