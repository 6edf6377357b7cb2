"""Training from scratch: ours, and timm's network in a timm-style loop, on the same images for the same wall time.

    python benchmarks/from_scratch.py rps                  # acceptance length, three seeds, ours alone
    python benchmarks/from_scratch.py cifar
    python benchmarks/from_scratch.py rps --minutes 4 --arms ours,timm --peer-python PEERS/bin/python

Rows are appended to benchmarks/results/from_scratch.jsonl; what stands there is not run again, so an interrupted
benchmark goes on. The reported split is scored once per run; selection sees a part of train that shares no clip with
the rest. The peer needs an environment of its own with torch, torchvision and timm (PYTHONPATH may hold a shim).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mobilenets.api import train
from mobilenets.arch.cost import cost
from mobilenets.arch.spec import Spec
from mobilenets.data.dataset import open_dataset
from mobilenets.data.roles import roles

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "from_scratch.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))

TASKS: dict[str, dict[str, Any]] = {
    "rps": {
        "data": "data/rps_hands",
        "settings": {"model": "mobilenet_v3_small", "resolution": 128, "batch_size": 32},
        "minutes": 14.0,
        "peer": {"model": "mobilenetv3_small_100", "resolution": 128},
    },
    "cifar": {
        "data": "data/cifar10_jpg/cifar10_jpg.zip",
        "settings": {
            "model": "mobilenet_v1_full_conv_025",
            "resolution": 32,
            "total_stride": 16,
            "precision": "bfloat16",
        },
        "minutes": 10.0,
        "peer": {"model": "mobilenetv4_conv_small", "resolution": 32},
    },
}


def main() -> None:
    """Runs what is not yet in the rows, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--arms", default="ours")
    parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
    arguments = parser.parse_args()
    task = TASKS[arguments.task]
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    minutes = arguments.minutes or task["minutes"]
    for seed in (int(seed) for seed in arguments.seeds.split(",")):
        for arm in arguments.arms.split(","):
            key = {"task": arguments.task, "arm": arm, "minutes": minutes, "seed": seed}
            key["threads"] = torch.get_num_threads()
            if any(all(row[k] == v for k, v in key.items()) for row in read_rows()):
                continue
            run = run_ours if arm == "ours" else run_timm
            row = key | run(task, minutes, seed, arguments.peer_python) | machine()
            ROWS.parent.mkdir(exist_ok=True)
            with ROWS.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print_table(arguments.task, minutes)


def run_ours(task: dict[str, Any], minutes: float, seed: int, _: str | None) -> dict[str, Any]:
    """One training of ours; the Run is left in a temporary folder of this process."""
    with tempfile.TemporaryDirectory() as folder:
        result = train(SHARED / task["data"], out=Path(folder) / "run", minutes=minutes, seed=seed, **task["settings"])
        spec = json.loads((Path(folder) / "run" / "spec.json").read_text())
    report = result["report"]
    whole = cost(Spec.from_json(spec))
    return {
        "model": spec["name"],
        "macs": whole.macs,
        "top1": report["top1"],
        "interval": report["top1_interval"],
        "images": report["images"],
        "split": report["split"],
        "selection_top1": result["best"]["val_top1"],
        "epochs": result["epochs"],
        "seconds": result["seconds"],
        "images_per_second": result["images_per_second"],
    }


def run_timm(task: dict[str, Any], minutes: float, seed: int, python: str | None) -> dict[str, Any]:
    """One training of timm's network by peers/timm_from_scratch.py, on the same three parts of the data."""
    if python is None:
        sys.exit("--peer-python: the interpreter of an environment with timm is needed for the arm timm")
    dataset = open_dataset(SHARED / task["data"])
    parts = roles(dataset, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        lists: dict[str, list[tuple[str, int]]] = {}
        for name in ("train", "selection", "report"):
            lists[name] = []
            for index, sample in enumerate(getattr(parts, name)):
                path = Path(folder) / name / f"{index:06d}{Path(sample.name).suffix}"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(dataset.read(sample))
                lists[name].append((str(path), sample.label))
        (Path(folder) / "lists.json").write_text(json.dumps(lists))
        command = [python, str(HERE / "peers" / "timm_from_scratch.py"), f"{folder}/lists.json", task["peer"]["model"]]
        command += [str(task["peer"]["resolution"]), str(minutes), str(seed), str(len(dataset.classes))]
        command.append(str(task["settings"].get("batch_size", 64)))
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1]) | {"split": parts.report_name}


def read_rows() -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def machine() -> dict[str, Any]:
    """Where and when."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def print_table(task: str, minutes: float) -> None:
    """Mean and range over the seeds of each arm, in percent."""
    for arm in ("ours", "timm"):
        rows = [r for r in read_rows() if (r["task"], r["arm"], r["minutes"]) == (task, arm, minutes)]
        if rows:
            scores = [100 * r["top1"] for r in rows]
            each = ", ".join(f"{s:.1f}" for s in scores)
            print(
                f"{task} {arm:5} {minutes:g} min: {statistics.mean(scores):.1f} % ({each}), {rows[0]['images']} images"
            )


if __name__ == "__main__":
    main()
