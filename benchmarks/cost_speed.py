"""Prints how long a thousand Specs take to make and to cost, per architecture and for a mix of all of them.

    PYTHONPATH=src python benchmarks/cost_speed.py

Processor time: the median of seven rounds after one that is dropped, with the fastest and slowest. The last line is
one line of JSON.
About ten seconds on one core.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec

ROUNDS = 7
SAMPLE = 100


def seconds_per_thousand(act: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Median, fastest and slowest of the rounds."""
    rounds = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        act()
        rounds.append((time.process_time() - start) * 1000 / times)
    rounds = rounds[1:]
    return statistics.median(rounds), min(rounds), max(rounds)


def main() -> None:
    results = {}
    groups: dict[str, list[tuple[str, float]]] = {name: [(name, 1.0)] * SAMPLE for name in ARCHITECTURES}
    names = list(ARCHITECTURES)
    groups["a mix of all, every width different"] = [
        (names[index % len(names)], 0.25 + 1.5 * index / SAMPLE) for index in range(SAMPLE)
    ]
    print(f"{'seconds per 1000 Specs':38}{'layers':>7}{'make':>9}{'cost':>9}{'(min':>9}{'max)':>8}")
    for name, wanted in groups.items():
        specs: list[Spec] = [create_spec(each, width=width) for each, width in wanted]
        make = seconds_per_thousand(lambda wanted=wanted: [create_spec(n, width=w) for n, w in wanted], SAMPLE)  # type: ignore[misc]
        price = seconds_per_thousand(lambda specs=specs: [cost(spec) for spec in specs], SAMPLE)  # type: ignore[misc]
        layers = len(cost(specs[0]).ops)
        print(f"{name:38}{layers:7}{make[0]:9.3f}{price[0]:9.3f}{price[1]:9.3f}{price[2]:8.3f}")
        results[name] = {"make_s": round(make[0], 4), "cost_s": round(price[0], 4)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
