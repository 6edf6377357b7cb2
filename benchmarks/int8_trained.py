"""What int8 costs networks that are trained here: `quantize` by its defaults, over three seeds.

    python benchmarks/int8_trained.py rps cifar           # trains each network, quantises it
    python benchmarks/int8_trained.py rps --qat           # the same Runs once more, trained as they round
    python benchmarks/int8_trained.py --table

Each network is trained from random weights for --minutes on one thread (so that none is near its best: what is asked is
what int8 adds to that), then quantised; both are scored on the split that neither saw. The Runs are kept in --runs, and
rows appended to benchmarks/results/int8_trained.jsonl; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from from_scratch import machine
from mobilenets import train
from mobilenets.deploy.quantize import quantize

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "int8_trained.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
NETWORKS = (
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mobilenet_v4_conv_small",
    "mobilenet_v3_small_minimal",
    "mobilenet_v3_large_minimal",
)
TASKS: dict[str, dict[str, Any]] = {
    "rps": {"data": "data/rps_hands", "resolution": 96},
    "cifar": {"data": "data/cifar10_jpg/cifar10_jpg.zip", "resolution": 32},
}


def main() -> None:
    """Runs what is not yet in the rows, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=[], choices=[[], *TASKS], metavar="|".join(TASKS))
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/int8_trained"))
    parser.add_argument("--qat", action="store_true")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for task in [] if given.table else given.tasks:
        for seed in (int(word) for word in given.seeds.split(",")):
            for network in given.networks.split(","):
                measure(task, network, seed, given)
    print_table()


def measure(task: str, network: str, seed: int, given: argparse.Namespace) -> None:
    """Trains one network where its Run is not there, quantises it, appends a row."""
    key = {"task": task, "network": network, "seed": seed, "minutes": given.minutes, "qat": given.qat}
    if any(all(row.get(k) == v for k, v in key.items()) for row in read_rows()):
        return
    run = given.runs / f"{task}-{network}-{seed}-{given.minutes:g}"
    settings = {"model": network, "resolution": TASKS[task]["resolution"]}
    train(SHARED / TASKS[task]["data"], out=run, minutes=given.minutes, seed=seed, threads=1, **settings)
    began = time.perf_counter()
    found = quantize(run, f"{run}-int8{'-qat' * given.qat}", **({"qat": True} if given.qat else {}))
    row = {name: found[name] for name in ("top1_float", "top1_int8", "drop", "agreement", "images", "sqnr_db", "ok")}
    row |= {"repair": found["repair"]["words"], "int8_macs": found["int8_macs"], "selection": found["selection"]}
    row |= {"plain": found["tried"][0], "tried": len(found["tried"]), "seconds": round(time.perf_counter() - began, 1)}
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a") as file:
        file.write(json.dumps(key | row | machine()) + "\n")


def read_rows() -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def print_table() -> None:
    """For each task and network: float and int8 over the seeds, the mean drop, net changed answers, agreement."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in read_rows():
        groups.setdefault((row["task"], row["network"], row["qat"]), []).append(row)
    for (task, network, qat), rows in groups.items():
        each = ", ".join(f"{100 * row['top1_float']:.1f}/{100 * row['top1_int8']:.1f}" for row in rows)
        net = ", ".join(f"{round(row['drop'] * row['images']):+d}" for row in rows)
        same = ", ".join(f"{100 * row['agreement']:.1f}" for row in rows)
        drop = 100 * statistics.mean(row["drop"] for row in rows)
        print(
            f"{task} {network}{' qat' * qat}: float/int8 {each} %; mean drop {drop:+.2f} points; answers lost {net} of "
            f"{rows[0]['images']}; same {same} %; {'; '.join(row['repair'] for row in rows)}"
        )


if __name__ == "__main__":
    main()
