"""Who trains, who selects and who is reported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .groups import find_groups
from .records import Dataset, Sample
from .shardindex import ShardSamples, labels_of
from .shards import is_streamed

REPORT_FRACTION = 0.15  # of one folder without splits
MOST_COMPARED = 100_000  # images of a set of shards that are read and compared to find near-duplicates
_SMALLEST_CLASS = 5  # images from which on a class gives at least one to what is held out


@dataclass(frozen=True)
class Roles:
    """Three disjoint parts of a dataset. Selection (early stopping, thresholds, search) never sees what is reported.

    `report_name` is the split that is reported, as the data calls it; "test" where it was held out here.
    """

    train: Sequence[Sample]
    selection: Sequence[Sample]
    report: Sequence[Sample]
    report_name: str
    notes: tuple[str, ...]


def roles(dataset: Dataset, seed: int = 0, fraction: float = 0.1) -> Roles:
    """The part that each sample plays, the same for the same `seed`.

    Train, val and test: val selects, test is reported. Train and one other: the other is reported, and `fraction` of
    train selects. One split or none: 15 % are held out and reported, then `fraction` of the rest selects. What is held
    out here is drawn class by class and in whole groups (near-duplicates, clips, sittings; see `groups.find_groups`),
    and leaves every class at least one image to train on. Raises UserError where a class has none.

    Shards that are remote, or of more than 100,000 images, are not read through for that: the hash of each name decides
    (`data pack` compares the images once, and writes the three parts).
    """
    splits = dataset.splits
    if splits == ("train", "val", "test"):
        parts = (dataset.of_split("train"), dataset.of_split("val"), dataset.of_split("test"))
        given = (f"selection: the val split, {len(parts[1])} images", f"report: the test split, {len(parts[2])} images")
        return _checked(dataset, Roles(*parts, "test", given))
    pool = dataset.of_split("train") if len(splits) == 2 and splits[0] == "train" else dataset.samples
    if isinstance(pool, ShardSamples) and (is_streamed(dataset) or len(pool) > MOST_COMPARED):
        return _checked(dataset, _roles_by_name(dataset, pool, seed, fraction))
    ids, found = _groups(dataset, pool)
    if len(pool) < len(dataset.samples):
        report, report_name = dataset.of_split(splits[1]), splits[1]
        notes = [f"report: the {report_name} split, {len(report)} images"]
        rest = np.arange(len(pool))
    else:
        held = hold_out(labels_of(pool), ids, REPORT_FRACTION, np.random.default_rng([seed, 1]))
        report, report_name = _taken(pool, np.flatnonzero(held)), "test"
        notes = [_described("report", held, ids, "images")]
        rest = np.flatnonzero(~held)
    selected = hold_out(labels_of(pool)[rest], ids[rest], fraction, np.random.default_rng([seed, 0]))
    notes += [_described("selection", selected, ids[rest], "training images"), *found]
    split_groups = _torn(selected, ids[rest])
    if split_groups:
        notes.append(f"{split_groups} groups had to be divided, because a class consists of little else")
    train, selection = _taken(pool, rest[~selected]), _taken(pool, rest[selected])
    return _checked(dataset, Roles(train, selection, report, report_name, tuple(notes)))


def _taken(pool: Sequence[Sample], places: np.ndarray) -> Sequence[Sample]:
    """The samples at those places of the pool."""
    if isinstance(pool, ShardSamples):
        return ShardSamples(pool.table, pool.chosen[places])
    return tuple(pool[i] for i in places.tolist())


def _roles_by_name(dataset: Dataset, pool: ShardSamples, seed: int, fraction: float) -> Roles:
    """The parts as `roles` makes them, each image drawn by the hash of its name alone."""
    drawn = np.array([_hash(pool.table.name(row), seed) for row in pool.chosen.tolist()])
    name = next((split for split in dataset.splits if split != "train"), None)
    if name is not None and len(pool) < len(dataset.samples):
        report, report_name, rest = dataset.of_split(name), name, drawn >= 0
    else:
        rest = drawn >= REPORT_FRACTION
        report, report_name = pool.where(~rest), "test"
    selected = rest & (drawn >= 1 - fraction * rest.mean())
    notes = (
        f"report: {len(report)} images ({report_name}); selection: {int(selected.sum())} training images",
        "drawn by the hash of each name: near-duplicates may be divided (`mobilenets data pack` keeps them together)",
    )
    return Roles(pool.where(rest & ~selected), pool.where(selected), report, report_name, notes)


def _hash(name: str, seed: int) -> float:
    """A number in 0...1, the same for the same name and seed."""
    salt = seed.to_bytes(8, "little", signed=True)
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=7, salt=salt).digest()
    return int.from_bytes(digest, "little") / 2**56


def hold_out(labels: np.ndarray, ids: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """bool (N,): about `fraction` of each class, in whole groups of equal `ids`, never all of a class.

    Groups are met in random order, small ones (a quarter of what their classes shall give) before large ones, and
    taken when that brings the classes nearer to their shares: many small groups measure better than one clip. A class
    of five or more images that got nothing that way gives its smallest group, or, where that is more than half of a
    class, single images.
    """
    draw = _Draw(labels, fraction)
    order = np.argsort(ids, kind="stable")
    groups = [group.tolist() for group in np.split(order, np.flatnonzero(np.diff(ids[order])) + 1) if len(group)]
    shuffled = [groups[place] for place in rng.permutation(len(groups)).tolist()]
    for group in sorted(shuffled, key=lambda group: not draw.is_small(group)):
        if draw.gain(group) > 0:
            draw.take(group)
    by_size = sorted(shuffled, key=len)
    for label in draw.unserved():
        mine = [group for group in by_size if any(draw.labels[i] == label for i in group)]
        whole = next((group for group in mine if draw.leaves_half(group)), None)
        if whole is not None:
            draw.take(whole)
        else:
            single = rng.permutation([i for group in mine for i in group if draw.labels[i] == label]).tolist()
            draw.take(single[: draw.wanted[label]])
    held = np.zeros(len(labels), bool)
    held[draw.held] = True
    return held


class _Draw:
    """What is held out so far, class by class."""

    def __init__(self, labels: np.ndarray, fraction: float) -> None:
        self.labels = labels.tolist()
        self.totals = np.bincount(labels).tolist()
        self.wanted = [_share(total, fraction) for total in self.totals]
        self.taken = [0] * len(self.totals)
        self.held: list[int] = []

    def is_small(self, group: list[int]) -> bool:
        """Whether the group is at most a quarter of what each of its classes shall give."""
        return len(group) == 1 or all(4 * n <= self.wanted[label] for label, n in self._counts(group).items())

    def gain(self, group: list[int]) -> float:
        """How much nearer to their shares the classes come with this group; 0 where one would lose its last image."""
        gain = 0.0
        for label, n in self._counts(group).items():
            wanted, before, after = self.wanted[label], self.taken[label], self.taken[label] + n
            if after >= self.totals[label]:
                return 0.0
            gain += ((before - wanted) ** 2 - (after - wanted) ** 2) / max(wanted, 1)
        return gain

    def leaves_half(self, group: list[int]) -> bool:
        """Whether every class keeps at least half of its images without this group."""
        return all(2 * (self.taken[k] + n) <= self.totals[k] for k, n in self._counts(group).items())

    def take(self, group: list[int]) -> None:
        """Holds the group out."""
        self.held += group
        for label, n in self._counts(group).items():
            self.taken[label] += n

    def unserved(self) -> list[int]:
        """Classes that shall give something and have given nothing."""
        return [label for label, wanted in enumerate(self.wanted) if wanted and not self.taken[label]]

    def _counts(self, group: list[int]) -> dict[int, int]:
        return Counter(self.labels[i] for i in group) if len(group) > 1 else {self.labels[group[0]]: 1}


def _share(total: int, fraction: float) -> int:
    """How many images a class of `total` shall give."""
    if total < 2 or fraction <= 0:
        return 0
    share = int(fraction * total + 0.5)
    return min(max(share, 1 if total >= _SMALLEST_CLASS else 0), total - 1)


def _groups(dataset: Dataset, pool: Sequence[Sample]) -> tuple[np.ndarray, tuple[str, ...]]:
    groups = find_groups(dataset, pool)
    return groups.ids, groups.notes


def _described(name: str, held: np.ndarray, ids: np.ndarray, of: str) -> str:
    groups = len(np.unique(ids[held]))
    share = held.mean() if len(held) else 0.0
    return f"{name}: {int(held.sum())} of {len(held)} {of} ({share:.0%}), by class and in {groups} whole groups"


def _torn(held: np.ndarray, ids: np.ndarray) -> int:
    """How many groups lie on both sides."""
    return len(np.intersect1d(ids[held], ids[~held]))


def _checked(dataset: Dataset, roles: Roles) -> Roles:
    trained = set(labels_of(roles.train).tolist())
    measured = {*labels_of(roles.selection).tolist(), *labels_of(roles.report).tolist()}
    missing = sorted(measured - trained)
    if missing:
        name = dataset.classes[missing[0]].name
        raise UserError(f"{dataset.root}: class {name!r} has images to measure but none to train on")
    return roles
