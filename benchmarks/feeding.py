"""Whether the loader keeps up with the training step of the fastest small networks, at 128 px on this machine's cores.

    taskset -c 0,1 python benchmarks/feeding.py
    taskset -c 0,1 python benchmarks/feeding.py --networks v1_025 --images 256 --rounds 2 --dry    # a short look

For each network an epoch is run in three ways, in turn, round by round: `loader` makes the batches and nothing else, by
its default threads; `step` trains on batches that lie ready in memory; `training` is what `train` does, both at once
on the same cores. The network, the recipe `default` (at 128 px whole), the kernels, the precision (`auto`: bfloat16
where it is faster) and kept memory are `train`'s own. `warm` finds all decoded images in the cache on disk, as every
epoch but the first does; `cold` decodes each JPEG (160 px) anew, as the first does. Images per second go by the wall's
clock. `waited` is the part of the training's time in which the step had no batch, that for the first one of each epoch
included. The loader is no bottleneck where it alone is faster than the step alone, and the training waits for little.
The first round is dropped; median, least and most of the others. Rows are appended to benchmarks/results/feeding.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from loader import machine, write_images
from mobilenets.arch.registry import create_spec
from mobilenets.data.dataset import open_dataset
from mobilenets.data.fingerprint import fingerprint
from mobilenets.data.loader import Batch, Images, Loader
from mobilenets.nn.kernels import available
from mobilenets.nn.kernels.memory import kept_memory
from mobilenets.nn.network import build_network
from mobilenets.nn.placement import placed
from mobilenets.training.average import make_average
from mobilenets.training.loop import Epoch, LabelLoss, Normaliser
from mobilenets.training.optimise import make_optimiser
from mobilenets.training.part import Part
from mobilenets.training.precision import choose_precision
from mobilenets.training.recipes import RECIPES

ROWS = Path(__file__).resolve().parent / "results" / "feeding.jsonl"
SIDE, FILES, BATCH = 128, 160, 64  # pixels that are trained on, of the files; images of a step
NETWORKS = {"v3_small_025": ("mobilenet_v3_small", 0.25), "v1_025": ("mobilenet_v1", 0.25)}
CPU = torch.device("cpu")


class Waits:
    """A loader, and the seconds for which its reader waited."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.seconds = loader, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The loader's batches."""
        batches = self.loader.epoch(number, start)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


class Ready(Waits):
    """A loader's first epoch, made beforehand."""

    def __init__(self, loader: Loader) -> None:
        super().__init__(loader)
        self.batches = list(loader.epoch(0))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The same batches each time."""
        yield from self.batches[start:]


def main() -> None:
    """Measures each network beside the warm and the cold loader, prints the table, appends a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--dry", action="store_true", help="append no row")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, kept_memory():
        os.environ["MOBILENETS_CACHE"] = root + "/cache"
        os.environ.pop("MOBILENETS_DECODED_GB", None)
        folder = write_images(Path(root) / "images", FILES, arguments.images)
        for name in arguments.networks.split(","):
            row = measure(name, folder, arguments) | machine()
            print_row(row)
            if not arguments.dry:
                ROWS.parent.mkdir(exist_ok=True)
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Images per second of each way in each round."""
    model, width = NETWORKS[name]
    dataset = open_dataset(folder)
    recipe = replace(RECIPES["default"](), train_resolution=1.0, batch_size=BATCH)
    spec = create_spec(model, width=width, resolution=SIDE, classes=len(dataset.classes))
    precision = choose_precision(arguments.precision, CPU)
    side = round(SIDE * recipe.store)
    kept = Images(dataset, dataset.samples, side, fingerprint=fingerprint(dataset))
    anew = Images(dataset, dataset.samples, side, cache_bytes=0)
    loaders = {
        state: Loader(images, batch_size=BATCH, resolution=SIDE, augmentation=recipe.augmentation, seed=0)
        for state, images in (("warm", kept), ("cold", anew))
    }
    torch.manual_seed(0)
    network = placed(build_network(spec), CPU)
    optimiser = make_optimiser(network, recipe.optimiser)
    normalise, labels = Normaliser(spec.preprocessing, CPU), LabelLoss(recipe.loss)
    average = make_average(network, recipe.averaging, loaders["warm"].steps)
    numbers = count()

    def train(loader: Waits) -> float:
        number = next(numbers)
        epoch = Epoch(
            network=network,
            loader=loader,  # type: ignore[arg-type]
            optimiser=optimiser,
            recipe=recipe,
            classes=spec.head.outputs,
            normalise=normalise,
            loss_of=labels,
            average=average,
            bfloat16=precision.bfloat16,
        )
        outcome = epoch.run(
            number,
            Part(0, number),
            go_on=lambda part: True,
            progress=lambda step: 0.5,
            on_step=lambda step, loss, speed: None,
        )
        return outcome.images / outcome.seconds

    def load(loader: Loader) -> float:
        began = time.perf_counter()
        images = sum(len(batch.labels) for batch in loader.epoch(next(numbers)))
        return images / (time.perf_counter() - began)

    waited: dict[str, list[float]] = {state: [] for state in loaders}

    def both(state: str) -> float:
        waits = Waits(loaders[state])
        speed = train(waits)
        waited[state].append(waits.seconds * speed / (loaders[state].steps * BATCH))
        return speed

    ready = Ready(loaders["warm"])
    ways: dict[str, Callable[[], float]] = {"step": lambda: train(ready)}
    for state, loader in loaders.items():
        ways[f"loader {state}"] = lambda loader=loader: load(loader)  # type: ignore[misc]
        ways[f"training {state}"] = lambda state=state: both(state)  # type: ignore[misc]
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(arguments.rounds + 1):
        for way, run in ways.items():
            speed = run()
            if number:
                speeds[way].append(round(speed, 1))
    return {
        "network": name,
        "side": SIDE,
        "images": arguments.images,
        "precision": precision.name,
        "kernels": available()[0],
        "torch_threads": torch.get_num_threads(),
        "loader_threads": loaders["warm"].threads,
        "images_per_second": speeds,
        "waited": {state: [round(part, 3) for part in parts[1:]] for state, parts in waited.items()},
    }


def print_row(row: dict[str, Any]) -> None:
    """The row for a person."""
    print(
        f"\n{row['network']} at {row['side']} px, {row['precision']}, kernels {'on' if row['kernels'] else 'off'}, "
        f"cores {row['cores']}, {row['torch_threads']} threads compute, {row['loader_threads']} load"
    )
    speeds = row["images_per_second"]
    for way, each in speeds.items():
        print(f"  {way:14} {statistics.median(each):7.0f} images/s  ({min(each):.0f}-{max(each):.0f})")
    for state, parts in row["waited"].items():
        ratio = statistics.median(a / b for a, b in zip(speeds[f"loader {state}"], speeds["step"], strict=True))
        print(f"  {state}: the loader makes {ratio:.2f} of what the step takes; waited {statistics.median(parts):.1%}")


if __name__ == "__main__":
    main()
