"""Who trains, who selects and who is reported."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from mobilenets.data.records import Dataset, Sample


@dataclass(frozen=True)
class Roles:
    """Three disjoint parts of a dataset. Selection (early stopping, search) never sees what is reported."""

    train: tuple[Sample, ...]
    selection: tuple[Sample, ...]
    report: tuple[Sample, ...]
    report_name: str
    notes: tuple[str, ...]


def roles(dataset: Dataset, seed: int = 0, fraction: float = 0.1) -> Roles:
    """The part of each sample. Deterministic by `seed`."""
    splits = dataset.splits
    if splits == ("train", "val", "test"):
        return Roles(dataset.of_split("train"), dataset.of_split("val"), dataset.of_split("test"), "test", ())
    if splits in (("train", "val"), ("train", "test")):
        train, selection = _hold_out(dataset.of_split("train"), seed, fraction)
        return Roles(train, selection, dataset.of_split(splits[1]), splits[1], ())
    rest, report = _hold_out(dataset.samples, seed, 2 * fraction)
    train, selection = _hold_out(rest, seed + 1, fraction)
    return Roles(train, selection, report, "test", ())


def _hold_out(samples: tuple[Sample, ...], seed: int, fraction: float) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    by_class = defaultdict(list)
    for sample in samples:
        by_class[sample.label].append(sample)
    held: set[Sample] = set()
    for label in sorted(by_class):
        members = by_class[label]
        random.Random(seed).shuffle(members)
        held.update(members[: min(len(members) - 1, round(fraction * len(members)))])
    return tuple(s for s in samples if s not in held), tuple(s for s in samples if s in held)
