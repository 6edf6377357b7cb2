"""A network of width 0.25 trained alone, and taught by a wide one, for the same wall time on one thread.

    OMP_NUM_THREADS=1 python benchmarks/distill.py cifar rps    # teachers, choices of settings, both arms, three seeds
    python benchmarks/distill.py --table                        # what was measured so far

The teacher is V2 1.0 with published weights, fine-tuned once for each task for the minutes that TASKS states, exported
to OpenVINO in int8 and kept in --teachers; its own training is not part of an arm, all that its file answers during an
arm is. The student begins with random weights in both arms. Each of the choices is trained once for --choice-minutes,
and each arm takes the learning rate with the best selection score. Their rows hold that score alone: no choice may rest
on the reported split. Equal wall time means something on an idle
core only: a training waits until the machine's load is below --load, and is repeated where it had less than --share of
its core. Rows are appended to benchmarks/results/distill.jsonl; what stands there is not run again, so an interrupted
benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from from_scratch import machine
from mobilenets import export, train
from mobilenets.arch.cost import cost
from mobilenets.arch.spec import Spec

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "distill.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))

PUBLISHED = "weights/tflite/mobilenet_v2_1.0_224_quant/mobilenet_v2_1.0_224_quant.tflite"
FILE = "openvino/int8/model.xml"  # of the teacher's bundle: it answers, in its own runtime
TAUGHT: dict[str, Any] = {"distill": "soft:0.9", "temperature": 1.0, "teacher_cache": 16}
CHOICES: dict[str, dict[str, dict[str, Any]]] = {  # options beside the student's, for each arm
    "alone": {f"lr {lr:g}": {"lr": lr} for lr in (5e-3, 1e-2, 2e-2)},
    "taught": {f"lr {lr:g}": TAUGHT | {"lr": lr} for lr in (5e-3, 1e-2, 2e-2)},
}
TASKS: dict[str, dict[str, Any]] = {
    "cifar": {
        "data": "data/cifar10_jpg/cifar10_jpg.zip",
        "student": {"model": "mobilenet_v1", "width": 0.25, "resolution": 32, "total_stride": 16},
        "teacher": {"weights": PUBLISHED, "resolution": 64},
        "teacher_minutes": 8.0,
        "minutes": 4.0,
    },
    "rps": {
        "data": "data/rps_hands",
        "student": {"model": "mobilenet_v3_small", "width": 0.25, "resolution": 128, "batch_size": 32},
        "teacher": {"weights": PUBLISHED, "resolution": 128},
        "teacher_minutes": 6.0,
        "minutes": 4.0,
    },
}


def main() -> None:
    """Runs what is not yet in the rows, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=[], choices=[[], *TASKS], metavar="|".join(TASKS))
    parser.add_argument("--minutes", type=float, help="for each arm, in place of the task's own")
    parser.add_argument("--teacher-minutes", type=float, help="in place of the task's own")
    parser.add_argument("--choice-minutes", type=float, default=2.0, help="for each choice of settings")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--teachers", type=Path, default=Path("runs/teachers"), help="folder that keeps the teachers")
    parser.add_argument("--load", type=float, default=2.2, help="load average below which a training begins")
    parser.add_argument(
        "--share", type=float, default=0.9, help="CPU seconds per second that a training needs to count"
    )
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    if not given.table:
        for name in given.tasks:
            run_task(name, given)
    print_table()


def run_task(name: str, given: argparse.Namespace) -> None:
    """The teacher, the choices, then both arms with every seed."""
    minutes = given.minutes or TASKS[name]["minutes"]
    teacher = make_teacher(name, given)
    for arm, choices in CHOICES.items():
        for choice in choices:
            measure(name, arm, choice, teacher, given.choice_minutes, 0, given, choosing=True)
    for seed in (int(seed) for seed in given.seeds.split(",")):
        for arm in CHOICES:
            choice = best_choice(name, arm, given.choice_minutes)
            measure(name, arm, choice, teacher, minutes, seed, given, choosing=False)


def best_choice(name: str, arm: str, minutes: float) -> str:
    """The choice with the best selection top-1, the lower selection loss where two are equal."""
    key = {"task": name, "arm": arm, "minutes": minutes, "choosing": True, "threads": torch.get_num_threads()}
    rows = [row for row in read_rows() if all(row.get(k) == v for k, v in key.items())]
    best: str = max(rows, key=lambda row: (row["selection_top1"], -row["selection_loss"]))["choice"]
    return best


def make_teacher(name: str, given: argparse.Namespace) -> str:
    """The path of the teacher's file, trained and exported where it is not there; its row says what the Run scores."""
    task = TASKS[name]
    minutes = given.teacher_minutes or task["teacher_minutes"]
    run = given.teachers / f"{name}-{minutes:g}-minutes"
    key = {"task": name, "arm": "teacher", "seed": 100, "minutes": minutes, "threads": torch.get_num_threads()}
    if not find(key):
        append(key | train_idle(task, begin(task["teacher"]), minutes, 100, run, given) | machine())
    bundle = given.teachers / f"{name}-bundle"
    if not (bundle / FILE).exists():
        export(run, bundle, to=["openvino"], int8=True)
    return str(bundle / FILE)


def begin(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the path of the weights, where there are any."""
    return settings | ({"weights": SHARED / settings["weights"]} if "weights" in settings else {})


def measure(
    name: str,
    arm: str,
    choice: str,
    teacher: str,
    minutes: float,
    seed: int,
    given: argparse.Namespace,
    *,
    choosing: bool,
) -> None:
    """One training of the student with an empty cache, unless its row is there; the Run is thrown away."""
    key = {"task": name, "arm": arm, "seed": seed, "minutes": minutes, "choosing": choosing}
    key |= {"choice": choice, "threads": torch.get_num_threads()}
    if find(key):
        return
    options = dict(CHOICES[arm][choice])
    if arm == "taught":
        options["teacher"] = teacher
    with tempfile.TemporaryDirectory() as folder:
        row = train_idle(
            TASKS[name], begin(TASKS[name]["student"]) | options, minutes, seed, Path(folder) / "run", given
        )
    if choosing:
        del row["top1"], row["interval"]
    append(key | options | row | machine())


def train_idle(
    task: dict[str, Any], settings: dict[str, Any], minutes: float, seed: int, run: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """What a training gave that had its core to itself; begun again, with an empty cache, until one had."""
    while True:
        while os.getloadavg()[0] >= given.load:
            time.sleep(10)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MOBILENETS_CACHE"] = cache
            cpu, began = time.process_time(), time.perf_counter()
            result = train(SHARED / task["data"], out=run, minutes=minutes, seed=seed, restart=True, **settings)
            share = (time.process_time() - cpu) / (time.perf_counter() - began)
        if share >= given.share:
            return facts(result, run) | {"cpu_share": round(share, 3)}
        print(f"had {share:.0%} of its core: begun again", flush=True)


def facts(result: dict[str, Any], run: Path) -> dict[str, Any]:
    """What a row keeps of a training."""
    spec = Spec.from_json(json.loads((run / "spec.json").read_text()))
    whole, report = cost(spec), result["report"]
    return {
        "model": spec.name,
        "macs": whole.macs,
        "params": whole.params,
        "selection_top1": result["best"]["val_top1"],
        "selection_loss": result["best"]["val_loss"],
        "top1": report["top1"],
        "interval": report["top1_interval"],
        "images": report["images"],
        "split": report["split"],
        "epochs": result["epochs"],
        "seconds": result["seconds"],
        "images_per_second": result["images_per_second"],
    }


def read_rows() -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def find(key: dict[str, Any]) -> bool:
    """Whether a row with that key is there."""
    return any(all(row.get(k) == v for k, v in key.items()) for row in read_rows())


def append(row: dict[str, Any]) -> None:
    """Adds a row; the folder that holds the teacher says nothing elsewhere, so only the file stays."""
    if row.get("teacher"):
        row["teacher"] = FILE
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a") as file:
        file.write(json.dumps(row) + "\n")


def print_table() -> None:
    """Mean and each seed of every arm, in percent; of the choices the selection score."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in read_rows():
        choosing = bool(row.get("choosing"))
        key = (row["task"], row["minutes"], choosing, row["arm"], row.get("choice", "") if choosing else "")
        groups.setdefault(key, []).append(row)
    for (task, minutes, choosing, arm, choice), rows in sorted(groups.items()):
        scores = [100 * row["selection_top1" if choosing else "top1"] for row in rows]
        each = ", ".join(f"{score:.1f}" for score in scores)
        of = "selection" if choosing else f"{rows[0]['images']} images"
        taken = "" if choosing or arm == "teacher" else f"; {rows[0]['choice']}"
        epochs = "/".join(str(row["epochs"]) for row in rows)
        print(
            f"{task} {f'{arm} {choice}'.strip():24} {minutes:g} min: {statistics.mean(scores):.1f} % ({each}), {of}; "
            f"epochs {epochs}; {rows[0]['model']}{taken}"
        )


if __name__ == "__main__":
    main()
