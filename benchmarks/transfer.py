"""Ways of fine-tuning published weights on small sets, compared on the selection part alone.

    python benchmarks/transfer.py                                   # every arm, three sets, two seeds, equal work
    python benchmarks/transfer.py --data grocery --arms transfer,head --minutes 2
    python benchmarks/transfer.py --table                           # what was measured so far

All arms of a set do the same work: as many passes over its training images as take the time of N passes that train
everything, so that a busy machine changes no score; `--minutes` gives them the same wall time, on an idle machine.
Rows are appended to benchmarks/results/transfer.jsonl; what stands there is not run again. The reported split is scored
by every training, and left out of the rows: no choice may rest on it. `--report` adds it, for the arm that was chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from from_scratch import machine
from mobilenets.deploy.load import load
from mobilenets.training import recipes
from mobilenets.training.begin import Arguments
from mobilenets.training.choose import Changes
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes.own import transfer
from mobilenets.training.start import Start, make_start
from mobilenets.training.trainer import run_training

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "transfer.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
WEIGHTS = "weights/tflite/mobilenet_v2_1.0_224_quant/mobilenet_v2_1.0_224_quant.tflite"
DATA: dict[str, dict[str, Any]] = {  # passes: what two minutes of one idle core do
    "grocery": {"data": "data/grocery_fine", "labels": None, "resolution": 128, "epochs": 10},
    "rps": {"data": "data/rps_hands", "labels": None, "resolution": 128, "epochs": 5},
    "smiles": {"data": "data/smiles_faces", "labels": None, "resolution": 96, "epochs": 8},
}


class Arm(NamedTuple):
    """A way of fine-tuning: its recipe, options beside it, and how many passes it does in the time of one of `all`.

    The speeds were measured on one core at 112 px, forward, backward and step of a batch of 32.
    """

    recipe: Recipe
    options: dict[str, Any]
    speed: float = 1.0


def arms() -> dict[str, Arm]:
    """Each way by name. `all` trains everything with BatchNorm put back, its classifier fitted first."""
    base = transfer()
    assert base.tuning is not None
    base = replace(base, tuning=replace(base.tuning, freeze="none", norm_stats="train"))

    def tuned(**changes: Any) -> Recipe:
        return replace(base, tuning=replace(base.tuning, **changes))  # type: ignore[type-var, arg-type]

    def rate(lr: float, **more: Any) -> Recipe:
        return replace(base, optimiser=replace(base.optimiser, lr=lr, **more))

    folded, refreshed = {"norm_stats": "keep"}, {"norm_stats": "refresh"}
    return {
        "all": Arm(base, {}),
        "head": Arm(base, {"freeze": "all"}),
        "freeze c2": Arm(base, {"freeze": "c2"}, 1.7),
        "freeze c3": Arm(base, {"freeze": "c3"}, 2.0),
        "freeze c4": Arm(base, {"freeze": "c4"}, 2.8),
        "folded": Arm(base, folded, 1.4),
        "folded c2": Arm(base, {"freeze": "c2", **folded}, 2.2),
        "folded c3": Arm(base, {"freeze": "c3", **folded}, 2.5),
        "folded lr 3e-4": Arm(rate(3e-4), folded, 1.4),
        "kept": Arm(base, refreshed, 1.2),
        "kept c3": Arm(base, {"freeze": "c3", **refreshed}, 2.2),
        "lr 3e-4": Arm(rate(3e-4), {}),
        "lr 3e-3": Arm(rate(3e-3), {}),
        "c3 lr 3e-3": Arm(rate(3e-3), {"freeze": "c3"}, 2.0),
        "c3 lr 3e-4": Arm(rate(3e-4), {"freeze": "c3"}, 2.0),
        "zero head": Arm(tuned(probe=False), {}),
        "zero head x10": Arm(tuned(probe=False, head_lr=10.0), {}),
        "decay 0.9": Arm(base, {"layer_decay": 0.9}),
        "decay 0.9 lr 3e-3": Arm(rate(3e-3), {"layer_decay": 0.9}),
        "decay 0.8 lr 3e-3": Arm(rate(3e-3), {"layer_decay": 0.8}),
        "unfreeze 0.4": Arm(base, {"unfreeze": 0.4}, 1.2),
        "momentum 0.01": Arm(tuned(norm_momentum=0.01), {}),
        "sgd": Arm(rate(0.02, name="sgd", weight_decay=5e-4), {}),
        "mild crops": Arm(replace(base, augmentation=replace(base.augmentation, scale=(0.6, 1.0))), {}),
    }


def main() -> None:
    """Runs what is not yet in the rows, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--arms", default=",".join(arms()))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--epochs", type=int, help="passes in place of each set's own")
    parser.add_argument("--resolution", type=int, help="pixels in place of each set's own")
    parser.add_argument("--weights", type=Path, default=SHARED / WEIGHTS)
    parser.add_argument("--report", action="store_true", help="keep the reported split's score too")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    if not given.table:
        start = begin(given.weights)
        for seed in (int(seed) for seed in given.seeds.split(",")):
            for name in given.data.split(","):
                for arm in given.arms.split(","):
                    measure(start, name, arm, seed, given)
    print_table()


def begin(weights: Path) -> Start:
    """The published weights by the one loader."""
    loaded = load(weights)
    return make_start(str(weights), loaded.spec, loaded.network.state_dict(), loaded.labels)


def measure(start: Start, name: str, arm: str, seed: int, given: argparse.Namespace) -> None:
    """One training, unless its row is there; appends the row."""
    task = DATA[name]
    epochs = None if given.minutes else given.epochs or task["epochs"]
    resolution = given.resolution or task["resolution"]
    key = {"data": name, "arm": arm, "seed": seed, "epochs": epochs, "minutes": given.minutes, "resolution": resolution}
    if any(all(row.get(k) == v for k, v in key.items()) for row in read_rows()):
        return
    made = arms()[arm]
    recipes.RECIPES["measured"] = lambda: replace(made.recipe, name="measured")
    head = made.options.get("freeze") == "all"
    passes = None if head or not epochs else round(epochs * made.speed)
    arguments = Arguments(
        data=str(SHARED / task["data"]),
        model=None,
        labels=task["labels"],
        minutes=given.minutes,
        resolution=resolution,
        width=None,
        total_stride=None,
        seed=seed,
        recipe="measured",
        changes=Changes(epochs=passes, **made.options),
        device="cpu",
        precision="float32",
        weights=start.name,
    )
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = run_training(arguments, Path(folder) / "run", start=start)
        history = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    row = key | {
        "selection_top1": result["best"]["val_top1"],
        "selection_loss": min(row["val_loss"] for row in history),
        "last_top1": history[-1]["val_top1"],
        "last_loss": history[-1]["val_loss"],
        "images": result["best"]["val_images"],
        "passes": result["epochs"],
        "seconds": result["seconds"],
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "weights": start.sha256[:12],
    }
    if given.report:
        row["report_top1"] = result["report"]["top1"]
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a") as file:
        file.write(json.dumps(row | machine()) + "\n")


def read_rows() -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def print_table() -> None:
    """Selection top-1 in percent and loss of each arm on each set, mean over the seeds; CPU seconds."""
    rows = read_rows()
    settings = sorted({(r["data"], r["resolution"], r["epochs"] or 0, r["minutes"] or 0) for r in rows})
    for data, resolution, epochs, minutes in settings:
        here = [
            r
            for r in rows
            if (r["data"], r["resolution"], r["epochs"] or 0, r["minutes"] or 0) == (data, resolution, epochs, minutes)
        ]
        budget = f"{minutes:g} min" if minutes else f"{epochs} passes"
        print(f"\n{data} at {resolution} px, {budget}, {here[0]['images']} selection images")
        print("| arm | best top-1 % | last top-1 % | least loss | CPU s | seeds |\n|---|---|---|---|---|---|")
        for arm in dict.fromkeys(r["arm"] for r in sorted(here, key=lambda r: list(arms()).index(r["arm"]))):
            own = [r for r in here if r["arm"] == arm]
            best, last = (100 * statistics.mean(r[k] for r in own) for k in ("selection_top1", "last_top1"))
            loss, cpu = (statistics.mean(r[k] for r in own) for k in ("selection_loss", "cpu_seconds"))
            print(f"| {arm} | {best:.1f} | {last:.1f} | {loss:.3f} | {cpu:.0f} | {len(own)} |")


if __name__ == "__main__":
    main()
