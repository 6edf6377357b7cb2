"""Groups of images that must stay on one side of a split: near-duplicates, copies, clips, sittings, series."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .near import Pairs, Prints, components, prints, similar_pairs
from .records import Dataset, Sample
from .sequences import Rule, sequence_rules

MAX_SHARE = 0.5  # of a class that one group may hold: a rule that lumps more says nothing about this class
_NEAR_SHARE, _NEAR_COUNT = 0.25, 10  # of a class in one group of near-duplicates before the tolerance is tightened
_TOLERANCES = (64, 48, 32, 16, 0)  # of 256 bits
_SERIES_PURITY = 0.75  # of a series' images whose nearest other picture must lie in the series
_SERIES_MEMBERS, _CLASS_SAMPLE = 10, 2000


@dataclass(frozen=True)
class Groups:
    """`ids`, int64 (N,): equal numbers belong together. `notes`: what was found and what was not believed."""

    ids: np.ndarray
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many groups have more than one image."""
        return int((np.bincount(self.ids, minlength=1) > 1).sum()) if len(self.ids) else 0


def find_groups(dataset: Dataset, samples: Sequence[Sample], found: Prints | None = None) -> Groups:
    """The groups among the samples; reads every image once, unless the cache or `found` has its print.

    Where the data states a group (a CSV's `group` column) that alone counts. Otherwise images are joined that are
    near-duplicates (mirrored ones too) or whose names say so. A rule about names that would put more than half of a
    class into one group is not applied to that class; a numbered series ("youtube-17") is believed only where three
    quarters of its images have their nearest neighbour, in colours and layout, inside the series. Near-duplicates that
    would lump a quarter of a class (a fixed camera) are asked to be nearer.
    """
    found = prints(dataset, samples) if found is None else found
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    free = np.array([sample.group is None for sample in samples], dtype=bool)
    notes: list[str] = []
    edges = [_joined([sample.group for sample in samples])]
    if not free.all():
        notes.append(f"{len({s.group for s in samples} - {None})} groups stated by the data")
    if free.any():
        pairs = similar_pairs(found.records)
        keep = found.readable[pairs.a] & found.readable[pairs.b] & free[pairs.a] & free[pairs.b]
        pairs = Pairs(pairs.a[keep], pairs.b[keep], pairs.distance[keep])
        edges.append(_near_edges(pairs, labels, dataset, notes))
        for named in named_groups(dataset, samples, found):
            edges.append(_joined(named.keys))
            notes += named.notes
    a, b = (np.concatenate([edge[side] for edge in edges]) for side in (0, 1))
    return Groups(components(len(samples), a, b), tuple(notes))


@dataclass(frozen=True)
class NamedGroups:
    """What one rule about file names joins: a key per sample, None where it says nothing or is not believed."""

    rule: str
    what: str  # "frames of one clip", for messages
    keys: tuple[str | None, ...]
    notes: tuple[str, ...]


_WHAT = {
    "source picture": "copies of one source picture",
    "clip": "frames of one clip",
    "sitting": "pictures taken in one sitting",
    "numbered series": "one numbered series",
}


def named_groups(dataset: Dataset, samples: Sequence[Sample], found: Prints) -> tuple[NamedGroups, ...]:
    """What the names of samples without a stated group say, as far as it is believed (see `find_groups`)."""
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    names = [label.name for label in dataset.classes]
    rules = sequence_rules(samples, names)
    source = _source_keys(rules, len(samples))
    groups = []
    for rule in rules:
        stated = [None if sample.group is not None else key for sample, key in zip(samples, rule.keys)]
        keys, refused = _believed(rule, stated, labels, source, found)
        notes = []
        if refused:
            shown = ", ".join(sorted(names[i] for i in refused)[:3]) + (", …" if len(refused) > 3 else "")
            notes.append(f"file names suggest one {rule.name} for most of {shown}: not believed there")
        count = len(set(keys) - {None})
        if count:
            notes.append(f"{count} groups of {_WHAT[rule.name]} by file name")
        groups.append(NamedGroups(rule.name, _WHAT[rule.name], tuple(keys), tuple(notes)))
    return tuple(groups)


def _joined(keys: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Edges (a, b) that join each sample to the first with the same key."""
    first: dict[str, int] = {}
    a, b = [], []
    for i, key in enumerate(keys):
        if key is not None and first.setdefault(key, i) != i:
            a.append(first[key])
            b.append(i)
    return np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)


def _near_edges(pairs: Pairs, labels: np.ndarray, dataset: Dataset, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The near-duplicate pairs within the widest tolerance that lumps no class."""
    for tolerance in _TOLERANCES:
        keep = pairs.distance <= tolerance
        a, b = pairs.a[keep], pairs.b[keep]
        ids = components(len(labels), a, b)
        lumped = _lumped_class(ids, labels)
        if lumped is None or tolerance == 0:
            break
    joined = len(np.unique(np.concatenate([a, b])))
    if joined:
        notes.append(f"{joined} images in {len(np.unique(ids[a]))} groups of near-duplicates")
    if tolerance != _TOLERANCES[0]:
        notes.append(
            f"many images look alike (one camera?): only those within {tolerance} of 256 bits count as near-duplicates"
        )
    return a, b


def _lumped_class(ids: np.ndarray, labels: np.ndarray) -> int | None:
    """A class of which one group holds too much, or None."""
    both, counts = np.unique(np.stack([labels, ids]), axis=1, return_counts=True)
    totals = np.bincount(labels)
    bad = (counts > _NEAR_COUNT) & (counts > _NEAR_SHARE * totals[both[0]])
    return int(both[0][bad][0]) if bad.any() else None


def _source_keys(rules: Sequence[Rule], count: int) -> list[str]:
    """For each sample the name of its source picture, or its own number."""
    stated = next((rule.keys for rule in rules if rule.name == "source picture"), (None,) * count)
    return [str(i) if key is None else key for i, key in enumerate(stated)]


def _believed(
    rule: Rule, keys: list[str | None], labels: np.ndarray, source: list[str], found: Prints
) -> tuple[list[str | None], list[int]]:
    """(the keys, None where the rule is not applied; the classes that a trusted rule would lump)."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(labels.tolist()):
        members[label].append(i)
    refused = []
    for label, indices in members.items():
        counts = Counter(keys[i] for i in indices if keys[i] is not None)
        wrong = {key for key, count in counts.items() if count > max(1, MAX_SHARE * len(indices))}
        if rule.trusted and wrong:
            refused.append(label)
            wrong = set(counts)
        if not rule.trusted:
            wrong |= set(counts) - _pure_series({*counts} - wrong, indices, keys, source, found)
        for i in indices:
            if keys[i] in wrong:
                keys[i] = None
    return keys, refused


def _pure_series(
    wanted: set[str | None], indices: list[int], keys: Sequence[str | None], source: list[str], found: Prints
) -> set[str | None]:
    """Those series of one class whose images have their nearest neighbour in the series, copies of the same aside."""
    counts = Counter(keys[i] for i in indices)
    wanted = {key for key in wanted if counts[key] >= _SERIES_MEMBERS and len(indices) - counts[key] >= _SERIES_MEMBERS}
    if not wanted:
        return set()
    step = -(-len(indices) // _CLASS_SAMPLE)
    chosen = np.array([i for i in indices[::step] if found.readable[i]])
    thumbs = found.records["thumb"][chosen].reshape(-1, 4, 4, 3).astype(np.float32)
    thumbs *= 128 / (thumbs.mean(axis=(1, 2, 3), keepdims=True) + 8)  # brightness says nothing
    flat, mirrored = thumbs.reshape(-1, 48), thumbs[:, :, ::-1].reshape(-1, 48)
    series = np.array([keys[i] if keys[i] in wanted else "\0" for i in chosen])
    sources = np.array([source[i] for i in chosen])
    # The squared distance |a|² - 2ab + |b|² of every pair; |b|² is the same for a picture and its mirror image.
    likeness = 2 * np.maximum(flat @ flat.T, flat @ mirrored.T) - (flat**2).sum(axis=1)
    likeness[sources[:, None] == sources] = -np.inf
    inside = series[likeness.argmax(axis=1)] == series
    return {key for key in wanted if (series == key).any() and inside[series == key].mean() >= _SERIES_PURITY}
