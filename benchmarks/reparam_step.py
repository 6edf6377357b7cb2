"""What training with branches costs in time and memory: the same network at reparam 0, 1, 2 and 4, one thread.

    taskset -c 1 python benchmarks/reparam_step.py

A step is zero_grad, forward, loss, backward and AdamW on random images in channels_last, with the kernels where they
are there. The clock is the processor time of the process, which other programs disturb little: the networks take a step
in turn, the first rounds are dropped. Printed: the median of the ratios to the plain network round by round, with the
least and the most. The forward pass of the training form in evaluation mode stands beside that of the network that it
folds into, in torch. The last line is one line of JSON; rows are appended to benchmarks/results/reparam_step.jsonl.
Some three minutes on one core.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch.nn import functional as F

from mobilenets.arch.registry import create_spec
from mobilenets.nn.deployed import deployed
from mobilenets.nn.kernels import available
from mobilenets.nn.kernels.memory import kept_memory
from mobilenets.nn.network import Network, build_network
from mobilenets.nn.placement import placed

NETWORKS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small")
BRANCHES = (0, 1, 2, 4)
SIDE, BATCH, WARM_UP, ROUNDS = 128, 8, 2, 9
RESULTS = Path(__file__).resolve().parent / "results" / "reparam_step.jsonl"


def stepper(network: Network, images: torch.Tensor) -> Callable[[], None]:
    """A function that trains `network` one step."""
    optimiser = torch.optim.AdamW(network.train().parameters(), lr=1e-4, foreach=True)
    labels = torch.arange(len(images))

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()

    return step


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turn(works: dict[str, Callable[[], object]]) -> list[dict[str, float]]:
    """The seconds of each, round by round."""
    return [{name: seconds(work) for name, work in works.items()} for _ in range(WARM_UP + ROUNDS)][WARM_UP:]


def ratio(rounds: list[dict[str, float]], name: str, base: str) -> dict[str, float]:
    """How many times as long `name` takes as `base`: the median over the rounds, the least and the most."""
    found = [each[name] / each[base] for each in rounds]
    return {"median": round(statistics.median(found), 2), "least": round(min(found), 2), "most": round(max(found), 2)}


def measure(name: str) -> dict[str, object]:
    """One network with each number of branches."""
    torch.manual_seed(0)
    images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    cpu = torch.device("cpu")
    networks = {
        str(count): placed(build_network(create_spec(name, resolution=SIDE, reparam=count)), cpu) for count in BRANCHES
    }
    training = in_turn({count: stepper(network, images) for count, network in networks.items()})
    most = networks[str(BRANCHES[-1])].eval()
    plain = placed(deployed(most), cpu)
    with torch.inference_mode():
        answering = in_turn({"branches": lambda: most(images), "deployed": lambda: plain(images)})
    return {
        "network": name,
        "step_ms_plain": round(1000 * statistics.median(each["0"] for each in training), 1),
        "step": {count: ratio(training, count, "0") for count in networks if count != "0"},
        "parameters": {count: sum(p.numel() for p in network.parameters()) for count, network in networks.items()},
        f"forward_{BRANCHES[-1]}": ratio(answering, "branches", "deployed"),
    }


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    with kept_memory():
        for name in NETWORKS:
            row = measure(name)
            rows.append(row)
            for count, found in row["step"].items():  # type: ignore[attr-defined]
                print(f"{name:24} reparam {count}: a step takes {found['median']:.2f} times as long "
                      f"({found['least']:.2f} to {found['most']:.2f})", flush=True)  # fmt: skip
    about = {
        "side": SIDE,
        "batch": BATCH,
        "rounds": ROUNDS,
        "threads": 1,
        "kernels": available()[0],
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    with RESULTS.open("a", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row | about) + "\n")
    print(json.dumps(about | {"networks": rows}))


if __name__ == "__main__":
    main()
