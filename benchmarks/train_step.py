"""How fast a training step is: ours with and without the kernels beside timm, torchvision and Keras, interleaved.

    python benchmarks/train_step.py --peer-python PEERS/bin/python
    python benchmarks/train_step.py --networks v2 --arms ours --profile
    python benchmarks/train_step.py --device cuda --batch 512 --compile --peer-python PEERS/bin/python

A step is zero_grad, forward, loss, backward, AdamW. Every arm is a process of its own. First each is tried alone for a
few steps; then the best two of ours, all of timm and the best of each other library run rounds: in each round each is
asked for one step in turn, so that what else the machine does hits all alike. Printed: the median of the images per
second, the ratio to timm's best of {float32, bfloat16} x {channels first, last} and to its default (float32, channels
first) with the quartiles over the rounds, and what memory a step adds per image.
A row per network is appended to benchmarks/results/train_step.jsonl. The peers need an environment of their own with
torch, timm, torchvision, keras and jax (PYTHONPATH may hold a shim).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "train_step.jsonl"
WORKER = HERE / "peers" / "train_step_worker.py"
NETWORKS = ("v1", "v2", "v3_large", "v4_conv_small")


@dataclass(frozen=True)
class Arm:
    """A library and how it is used. `kept_memory`: freed memory stays with the process, as our trainer has it."""

    library: str
    precision: str
    layout: str
    kernels: bool = False
    kept_memory: bool = False
    compile: bool = False
    device: str = "cpu"
    threads: int = 0
    cpu_time: bool = False

    @property
    def name(self) -> str:
        extras = [word for word in ("kernels", "kept_memory", "compile") if getattr(self, word)]
        return " ".join((self.library, self.precision, self.layout, *extras))


class Worker:
    """The process of an arm."""

    def __init__(self, arm: Arm, python: str) -> None:
        self.arm = arm
        environment = os.environ | {"MOBILENETS_KERNELS": str(int(arm.kernels))}
        if arm.library.startswith("keras"):
            environment["KERAS_BACKEND"] = arm.library.partition("-")[2]
        if arm.threads:
            environment["OMP_NUM_THREADS"] = str(arm.threads)
        command = [python, str(WORKER), json.dumps(asdict(arm))]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would stop it when full
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.said, text=True, env=environment)

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            said = self.said.read().strip().splitlines()
            how = f"ended with status {self.process.wait()} (-9: killed, as where memory is short: see --match)"
            raise SystemExit(f"{self.arm.name}: {said[-1] if said else how}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()
        self.said.close()


def arms_of(arguments: argparse.Namespace) -> list[Arm]:
    """What is compared."""
    common = {"device": arguments.device, "threads": arguments.threads, "cpu_time": arguments.cpu_time}
    precisions, layouts = ("float32", "bfloat16"), ("channels_last", "channels_first")
    on_cpu = arguments.device == "cpu"
    arms = []
    for library in arguments.arms.split(","):
        for precision in precisions:
            if library.startswith("keras"):
                arms.append(Arm(library, precision, "default", **common))
                continue
            if library == "ours" and on_cpu:
                arms.append(Arm(library, precision, "channels_last", True, True, **common))
            for layout in layouts:
                arms.append(Arm(library, precision, layout, **common))
                if arguments.compile:
                    arms.append(Arm(library, precision, layout, compile=True, **common))
            if library == "timm" and arguments.kept_peers:
                arms.append(Arm(library, precision, "channels_last", kept_memory=True, **common))
    return [arm for arm in arms if re.search(arguments.match, arm.name)]


def measure(network: str, arms: list[Arm], arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds per step of every arm and round, memory per image, profiles.

    Every arm is tried alone for a few steps first; the rounds are run by the best two of ours, all of timm and the best
    of each other library, so that they fit into memory together.
    """
    tried: dict[str, list[float]] = {}
    found: dict[str, Any] = {"bytes": {}, "profile": {}}
    had = []
    for arm in arms:
        with started([arm], network, arguments) as workers:
            for worker in workers:
                had.append(arm)
                seconds = [worker.ask(do="step")["seconds"] for _ in range(arguments.warm_up + arguments.tries)]
                tried[arm.name] = seconds[arguments.warm_up :]
                found["bytes"][arm.name] = worker.ask(do="memory")["bytes"]
                if arguments.profile and not arm.library.startswith("keras"):
                    found["profile"][arm.name] = worker.ask(do="profile")["parts"]
    found["tried"] = tried
    found["seconds"] = {arm.name: [] for arm in finalists(had, tried)}
    with started([arm for arm in had if arm.name in found["seconds"]], network, arguments) as workers:
        for number in range(arguments.warm_up + arguments.rounds):
            for worker in workers:
                taken = worker.ask(do="step")["seconds"]
                if number >= arguments.warm_up:
                    found["seconds"][worker.arm.name].append(taken)
    return found


@contextmanager
def started(arms: list[Arm], network: str, arguments: argparse.Namespace) -> Iterator[list[Worker]]:
    """The workers of those arms that have the network, ready for steps."""
    python = arguments.peer_python or sys.executable
    workers = [Worker(arm, sys.executable if arm.library == "ours" else python) for arm in arms]
    load = {"do": "load", "network": network, "size": arguments.size, "batch": arguments.batch}
    try:
        yield [worker for worker in workers if worker.ask(**load)["parameters"] is not None]
    finally:
        for worker in workers:
            worker.close()


def finalists(arms: list[Arm], tried: dict[str, list[float]]) -> list[Arm]:
    """Which arms run the rounds, of those that were tried for so many seconds a step."""
    places = {"ours": 2, "timm": len(arms)}
    chosen = []
    for library in dict.fromkeys(arm.library for arm in arms):
        own = sorted((arm for arm in arms if arm.library == library), key=lambda arm: min(tried[arm.name]))
        chosen += own[: places.get(library, 1)]
    return chosen


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """Quartiles over the rounds of how many times as fast ours is."""
    per_round = [b / a for a, b in zip(ours, theirs, strict=True)]
    return [round(q, 3) for q in statistics.quantiles(per_round, n=4)] if len(per_round) > 1 else per_round * 3


def summarise(network: str, found: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """The row of a network."""
    seconds, batch = found["seconds"], arguments.batch
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    alone = {name: statistics.median(values) for name, values in found["tried"].items()}
    row: dict[str, Any] = {"network": network, "size": arguments.size, "batch": batch, "rounds": arguments.rounds}
    row["clock"] = "processor" if arguments.cpu_time else "wall"
    row["images_per_second"] = {name: round(batch / median, 2) for name, median in medians.items()}
    row["alone_images_per_second"] = {name: round(batch / median, 2) for name, median in alone.items()}
    row["megabytes_per_image"] = {name: round(size / batch / 1e6, 2) for name, size in found["bytes"].items()}
    ours = min((name for name in medians if name.startswith("ours ")), key=medians.__getitem__, default=None)
    peers = [name for name in medians if name.startswith("timm ") and "kept_memory" not in name]
    if ours and peers:
        best = min(peers, key=medians.__getitem__)
        row |= {"best": ours, "timm_best": best, "ratio_to_timm_best": ratios(seconds[ours], seconds[best])}
        if "timm float32 channels_first" in seconds:
            row["ratio_to_timm_default"] = ratios(seconds[ours], seconds["timm float32 channels_first"])
    if found["profile"]:
        row["profile_ms"] = {k: {p: round(ms, 2) for p, ms in v.items()} for k, v in found["profile"].items()}
    return row


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where and when."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    place = {"device": arguments.device, "cpu": cpu, "threads": arguments.threads or torch.get_num_threads()}
    if arguments.device == "cuda":
        place["gpu"] = torch.cuda.get_device_name()
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    load = {"load": round(os.getloadavg()[0], 1)} if hasattr(os, "getloadavg") else {}
    return place | {"torch": torch.__version__, "date": now} | load


def command_line(arguments: argparse.Namespace) -> str:
    """The command as anyone can give it: the peers' environment lies elsewhere on another machine."""
    given = ["PEERS/bin/python" if word == arguments.peer_python else word for word in sys.argv[1:]]
    return shlex.join(["python", "benchmarks/train_step.py", *given])


def show(row: dict[str, Any]) -> None:
    """Prints a network's figures."""
    print(f"\n{row['network']}  {row['size']} px, batch {row['batch']}")
    for name, speed in sorted(row["images_per_second"].items(), key=lambda item: -item[1]):
        print(f"  {speed:8.1f} img/s {row['megabytes_per_image'][name]:8.1f} MB/image  {name}")
    for name, speed in sorted(row["alone_images_per_second"].items(), key=lambda item: -item[1]):
        if name not in row["images_per_second"]:
            print(f"  {speed:8.1f} img/s {row['megabytes_per_image'][name]:8.1f} MB/image  {name} (tried alone)")
    for key in ("ratio_to_timm_best", "ratio_to_timm_default"):
        if key in row:
            low, middle, high = row[key]
            print(f"  {key.replace('_', ' ')}: {middle:.2f} ({low:.2f} to {high:.2f})")
    for name, parts in row.get("profile_ms", {}).items():
        print(f"  {name}: " + ", ".join(f"{part} {ms:.0f} ms" for part, ms in list(parts.items())[:10]))


def main() -> None:
    """Measures, prints, appends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--arms", default="ours,timm,torchvision,keras-torch,keras-jax")
    parser.add_argument("--match", default="", help="only the arms whose name fits this regular expression")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tries", type=int, default=3, help="steps of each arm alone")
    parser.add_argument("--warm-up", type=int, default=2, help="rounds that do not count")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    parser.add_argument("--cpu-time", action="store_true", help="one thread's processor time: for a busy machine")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--kept-peers", action="store_true", help="timm with freed memory kept, as our trainer has it")
    parser.add_argument("--profile", action="store_true", help="milliseconds by operator")
    parser.add_argument("--dry", action="store_true", help="append no row")
    parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
    arguments = parser.parse_args()
    if arguments.cpu_time:
        arguments.threads = 1
    arms = arms_of(arguments)
    middles = []
    for network in arguments.networks.split(","):
        row = summarise(network, measure(network, arms, arguments), arguments) | machine(arguments)
        row["command"] = command_line(arguments)
        show(row)
        sys.stdout.flush()
        if "ratio_to_timm_best" in row:
            middles.append(row["ratio_to_timm_best"][1])
        if not arguments.dry:
            with open(ROWS, "a") as file:
                file.write(json.dumps(row) + "\n")
    if middles:
        print(json.dumps({"geometric_mean": round(statistics.geometric_mean(middles), 3), "lowest": min(middles)}))


if __name__ == "__main__":
    main()
