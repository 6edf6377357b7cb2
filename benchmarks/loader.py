"""Images per second of the training loader on one core, against Pillow, torchvision and timm on the same files.

    taskset -c 1 python benchmarks/loader.py
    taskset -c 1 python benchmarks/loader.py --peer-python PEERS/bin/python    # torchvision's and timm's transforms too
    taskset -c 0,1 python benchmarks/loader.py --threads 2 --arms cold,warm    # ours alone on two cores

Two folders of JPEGs are made on the spot: 512 px (four photographs side by side, so that they are as detailed as a
photograph of that size), trained at 224 px, and 160 px, trained at 128. Every arm decodes, crops, turns, flips and
recolours each image and ends with normalised float32 batches of 64. `cold` decodes each image anew, `crops` decodes
each crop for itself (`store` 0), `warm` finds all decoded images in the cache on disk. One pass of each arm is a round;
rounds are interleaved; a ratio is that of the two arms in the same round. The first round is dropped. With one thread
the clock is the processor time of the process, which other programs on the machine disturb little; with more it is the
wall's. Rows are appended to benchmarks/results/loader.jsonl.
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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch

from mobilenets.arch.spec import Preprocessing
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.fingerprint import fingerprint
from mobilenets.data.loader import Images, Loader
from mobilenets.training.loop import Normaliser
from peers.pillow_pipeline import at_best, by_steps

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "loader.jsonl"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
BATCH = 64
SETS = {512: 224, 160: 128}  # side of the files: side trained at
AUGMENTATION = Augmentation(rotate=20.0, colour=0.4, hue=0.03, grey=0.1)  # the recipe `default`'s
Arm = Callable[[], float]  # one pass over the images; images per second


def main() -> None:
    """Measures every arm on both folders, appends a row for each folder, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arms", default="cold,crops,warm,pillow,pillow_at_best,torchvision,timm")
    parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
    parser.add_argument("--dry", action="store_true", help="append no row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = arguments.arms.split(",")
    with tempfile.TemporaryDirectory() as root:
        os.environ["MOBILENETS_CACHE"] = root + "/cache"
        for side, size in SETS.items():
            folder = write_images(Path(root) / str(side), side, arguments.images)
            with peer_arms(folder, size, chosen, arguments.peer_python) as peers:
                arms = {n: a for n, a in own_arms(folder, size, arguments.threads).items() if n in chosen} | peers
                speeds = measure(arms, arguments.rounds)
            row = {"files": side, "size": size, "images": arguments.images, "threads": arguments.threads}
            row |= {"images_per_second": speeds, "ratios": ratios(speeds)} | machine()
            print_table(row)
            if not arguments.dry:
                ROWS.parent.mkdir(exist_ok=True)
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def write_images(folder: Path, side: int, images: int) -> Path:
    """A folder of two classes with that many JPEGs, square, quality 90, from photographs or rendered hands."""
    photographs = squares()
    for index in range(images):
        if side > 256:  # four at 256, so that nothing is enlarged
            four = [photographs[(index + step) % len(photographs)] for step in (0, 7, 31, 101)]
            picture = np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])
        else:
            picture = cv2.resize(photographs[index % len(photographs)], (side, side), interpolation=cv2.INTER_AREA)
        path = folder / f"class{index % 2}" / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return folder


def squares() -> list[np.ndarray]:
    """Photographs of 256 x 256, uint8 RGB; rendered hands where the photographs are absent."""
    paths = sorted((SHARED / "data" / "imagenet_samples_even" / "images").rglob("*.*"))
    if paths:
        pictures = (decode_image(path.read_bytes()) for path in paths)
        return [picture[:256, :256] for picture in pictures if min(picture.shape[:2]) >= 256]
    dataset = open_dataset("hands")
    pictures = (decode_image(dataset.read(sample)) for sample in dataset.samples[:300])
    return [cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA) for picture in pictures]


def own_arms(folder: Path, size: int, threads: int) -> dict[str, Arm]:
    """Ours, and Pillow's pipelines in this process."""
    dataset = open_dataset(folder)
    side, mark = round(1.15 * size), fingerprint(dataset)
    normalise = Normaliser(Preprocessing(resolution=size), torch.device("cpu"))
    samples = dataset.samples
    made = {
        "cold": Images(dataset, samples, side, cache_bytes=0),
        "crops": Images(dataset, samples, None),
        "warm": Images(dataset, samples, side, cache_bytes=0, fingerprint=mark),
    }
    arms: dict[str, Arm] = {}
    for name, images in made.items():
        loader = Loader(images, batch_size=BATCH, resolution=size, augmentation=AUGMENTATION, seed=0, threads=threads)
        arms[name] = partial(pass_of_loader, loader, normalise, count())
    files = sorted(folder.glob("*/*.jpg"))
    arms["pillow"] = partial(pass_of_pillow, files, by_steps, size)
    arms["pillow_at_best"] = partial(pass_of_pillow, files, at_best, size)
    return arms


def pass_of_loader(loader: Loader, normalise: Normaliser, numbers: Iterator[int]) -> float:
    """Images per second of the next epoch, normalised batches included."""
    clock = time.process_time if loader.threads == 1 else time.perf_counter
    began = clock()
    for batch in loader.epoch(next(numbers)):
        normalise(batch.images)
    return loader.steps * BATCH / (clock() - began)


def pass_of_pillow(files: list[Path], transform: Callable[[Path, int], torch.Tensor], size: int) -> float:
    """Images per second of one pass, stacked to batches."""
    began, steps = time.process_time(), len(files) // BATCH
    for step in range(steps):
        torch.stack([transform(path, size) for path in files[step * BATCH : (step + 1) * BATCH]])
    return steps * BATCH / (time.process_time() - began)


@contextmanager
def peer_arms(folder: Path, size: int, chosen: list[str], python: str | None) -> Iterator[dict[str, Arm]]:
    """torchvision's and timm's transforms, each in a process of its own that waits between rounds."""
    processes: dict[str, subprocess.Popen[str]] = {}
    if python is not None:
        for name in {"torchvision", "timm"} & set(chosen):
            command = [python, str(HERE / "peers" / "torchvision_loader.py"), str(folder), str(size), name]
            processes[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield {name: partial(pass_of_peer, process) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.communicate()


def pass_of_peer(process: subprocess.Popen[str]) -> float:
    """Images per second that the peer says its pass took."""
    assert process.stdin is not None
    assert process.stdout is not None
    print("go", file=process.stdin, flush=True)
    return float(process.stdout.readline())


def measure(arms: dict[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Images per second of each arm in each round; one more round comes first and is dropped."""
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            speed = arm()
            if number:
                speeds[name].append(round(speed, 1))
    return speeds


def ratios(speeds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of our speed over the peer's in the same round."""
    found = {}
    for ours in ("cold", "crops", "warm"):
        for peer in ("pillow", "pillow_at_best", "torchvision", "timm"):
            if ours in speeds and peer in speeds:
                each = [a / b for a, b in zip(speeds[ours], speeds[peer], strict=True)]
                spread = {"median": statistics.median(each), "least": min(each), "most": max(each)}
                found[f"{ours}/{peer}"] = {key: round(value, 2) for key, value in spread.items()}
    return found


def machine() -> dict[str, object]:
    """Where, when and how."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {
        "cpu": cpu,
        "cores": cores,
        "command": command,
        "opencv": cv2.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def print_table(row: dict[str, object]) -> None:
    """The row for a person."""
    print(f"\n{row['files']}-px JPEGs, trained at {row['size']} px, cores {row['cores']}, threads {row['threads']}")
    speeds, found = row["images_per_second"], row["ratios"]
    assert isinstance(speeds, dict)
    assert isinstance(found, dict)
    for name, each in speeds.items():
        print(f"  {name:16} {statistics.median(each):7.0f} images/s  ({min(each):.0f}-{max(each):.0f})")
    for name, spread in found.items():
        print(f"  {name:24} {spread['median']:6.2f} x  ({spread['least']:.2f}-{spread['most']:.2f})")


if __name__ == "__main__":
    main()
