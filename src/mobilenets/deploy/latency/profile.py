"""A latency model of the networks that pruning can make of one, from a design of them that is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...arch.spec import Spec
from ...compress.channels import Group, groups, with_channels
from ...console import progress, say
from ...nn.network import Network
from ..runtimes import Runtime
from .model import LatencyModel, fit
from .stopwatch import Stopwatch
from .variants import Variants

QUICK, SLOW = 40, 12  # networks that are measured, where a file is made in a blink and where it is exported
DOUBTFUL = 0.05  # a measurement that is further from the model is repeated twice
FRACTIONS = (1.0, 0.75, 0.5, 0.25)


class MeasuredLatency:
    """Milliseconds in a runtime's file: `measure` by running it, `predict` by a model of `measured` ones.

    `rows` are what the model was fitted to: the channels of each group, and the milliseconds.
    """

    def __init__(self, runtime: Runtime, network: Network, folder: Path, threads: int, multiple: int) -> None:
        self.variants = Variants(runtime, network, folder)
        base = self.variants.write(network.spec)
        self.stopwatch = Stopwatch(runtime, base, network.spec.resolution, threads)
        self.known: dict[Spec, float] = {network.spec: self.stopwatch.base_ms}
        self.rows: list[dict[str, Any]] = []
        self.model: LatencyModel | None = None
        self.model = self._fitted(network.spec, QUICK if runtime.name in ("onnx", "openvino") else SLOW, multiple)

    def measure(self, spec: Spec) -> float:
        """Milliseconds of that network, measured once, thrice where the model doubts it."""
        if spec not in self.known:
            path = self.variants.write(spec)
            found = [self.stopwatch.measure(path)]
            if self.model is not None and abs(found[0] / self.model(spec) - 1) > DOUBTFUL:
                found += [self.stopwatch.measure(path) for _ in range(2)]
            self.known[spec] = statistics.median(found)
        return self.known[spec]

    def measure_network(self, network: Network) -> float:
        """Milliseconds of the file that `network` itself is exported to."""
        return self.stopwatch.measure(self.variants.export(network))

    def predict(self, spec: Spec) -> float:
        """Milliseconds of that network by the model."""
        assert self.model is not None
        return self.model(spec)

    def _fitted(self, spec: Spec, count: int, multiple: int) -> LatencyModel:
        began = time.perf_counter()
        specs = [spec, *designed(spec, count, multiple)]
        with progress() as bar:
            task = bar.add_task("latency", total=len(specs), note="")
            for each in specs:
                milliseconds = self.measure(each)
                sizes = {group.name: group.channels for group in groups(each) if group.kind != "block"}
                self.rows.append({"channels": sizes, "ms": round(milliseconds, 4)})
                bar.update(task, advance=1)
        model = fit(specs, [self.known[each] for each in specs])
        say(
            f"latency: {len(specs)} networks measured in {time.perf_counter() - began:.0f} s; on those left out of the "
            f"fit the model errs by {model.error:.1%} in the median, {model.error_90:.1%} in nine of ten"
        )
        return model


@contextmanager
def measured_latency(runtime: Runtime, network: Network, threads: int, multiple: int) -> Iterator[MeasuredLatency]:
    """The latency of `network` and those that pruning makes of it; its files are gone afterwards."""
    with TemporaryDirectory() as folder:
        yield MeasuredLatency(runtime, network, Path(folder), threads, multiple)


def designed(spec: Spec, count: int, multiple: int) -> Iterator[Spec]:
    """`count` networks of all widths: each group's share of its channels is drawn, some of one, some of all groups."""
    rng = np.random.default_rng(0)
    found = [group for group in groups(spec) if group.kind != "block"]
    for number in range(count):
        part: Sequence[Group] = found if number % 2 else [found[place] for place in rng.permutation(len(found))[:4]]
        made = spec
        for group in part:
            share = FRACTIONS[rng.integers(len(FRACTIONS))]
            channels = max(multiple, round(group.channels * share / multiple) * multiple)
            made = with_channels(made, group, min(channels, group.channels))
        yield made
