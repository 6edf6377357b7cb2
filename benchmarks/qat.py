"""Quantisation-aware training of one network from its plain int8 form: when BatchNorm's statistics are frozen.

    python benchmarks/qat.py            # V3-Small at 96 px on rps_hands: trained, then four trainings as it rounds
    python benchmarks/qat.py --table

All begin at the same plain int8 network (min-max ranges, no repair) and go over the training images as often. What is
kept is chosen on selection images by the divergence from the float network's answers; printed are that, and top-1 and
the answers kept on the split that is reported. Rows go to benchmarks/results/qat.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from from_scratch import machine
from mobilenets import train
from mobilenets.compress.aware_training import Awareness, train_aware_
from mobilenets.compress.sensitivity import divergence, sqnr_db
from mobilenets.compress.simulation import Simulation
from mobilenets.data.dataset import open_dataset
from mobilenets.deploy.calibrate import read_images
from mobilenets.deploy.load import load
from mobilenets.deploy.quantise_data import Keep, divide
from mobilenets.deploy.quantise_training import training_images
from mobilenets.deploy.score import known_columns, score
from mobilenets.deploy.wrap import Shipped

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "qat.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
DATA = "data/rps_hands"
FROZEN = (0.0, 0.3, 0.5)


def main() -> None:
    """Trains and measures, or prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0, help="of the float network's training")
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--run", type=Path, default=Path("runs/qat"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    if not given.table:
        train(SHARED / DATA, model="mobilenet_v3_small", resolution=96, minutes=given.minutes, out=given.run)
        measure(given)
    for line in ROWS.read_text().splitlines() if ROWS.exists() else []:
        row = json.loads(line)
        for name, told in row["arms"].items():
            print(
                f"{name:12} divergence {told['divergence']:.4f} nats (selection); top-1 {told['top1']:.1%} (float "
                f"{row['top1_float']:.1%}), same answers {told['agreement']:.1%}, {told['sqnr_db']:.1f} dB, "
                f"{row['images']} images"
            )


def measure(given: argparse.Namespace) -> None:
    """Every arm of one float network; a row."""
    loaded, dataset = load(given.run), open_dataset(SHARED / DATA)
    columns, parts = known_columns(dataset, loaded), divide(dataset, 256)
    assert columns is not None
    calibration = read_images(dataset, parts.calibration, loaded)
    selection, report = (
        score(dataset, part, [Keep()], loaded.preprocessing, columns) for part in (parts.selection, parts.report)
    )
    shipped, loader = Shipped(loaded.network), training_images(dataset, loaded)
    plain = Simulation(shipped, calibration)
    exact = {part: plain.logits(of.logits[0], []) for part, of in (("selection", selection), ("report", report))}

    def apart(simulation: Simulation) -> float:
        return divergence(exact["selection"], simulation.logits(selection.logits[0]))

    def told(simulation: Simulation) -> dict[str, Any]:
        found = simulation.logits(report.logits[0])
        return {
            "divergence": apart(simulation),
            "top1": float((found.argmax(1) == report.labels).mean()),
            "agreement": float((found.argmax(1) == exact["report"].argmax(1)).mean()),
            "sqnr_db": sqnr_db(exact["report"], found),
        }

    arms: dict[str, Any] = {}
    for frozen in (None, *FROZEN):
        simulation = Simulation(shipped, calibration)
        simulation.watch(calibration)
        course = None
        if frozen is not None:
            settings = Awareness(epochs=given.passes, frozen_after=frozen)
            course = train_aware_(simulation, shipped, loader, calibration, lambda at: -apart(at), settings)
        name = "plain int8" if frozen is None else f"frozen {frozen:g}"
        arms[name] = told(simulation) | ({} if course is None else {"scores": course.scores, "seconds": course.seconds})
        print(name, arms[name], flush=True)
    top1 = float((exact["report"].argmax(1) == report.labels).mean())
    row = {"passes": given.passes, "minutes": given.minutes, "top1_float": top1, "images": len(report.labels)}
    with ROWS.open("a") as file:
        file.write(json.dumps(row | {"arms": arms, "torch_threads": torch.get_num_threads()} | machine()) + "\n")


if __name__ == "__main__":
    main()
