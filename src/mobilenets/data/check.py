"""What is wrong with a labelled set of images, found before a network is trained on it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .dataset import Dataset, Sample, open_dataset
from .decode import ImageError, decode_image
from .groups import named_groups
from .near import Prints, components, prints, similar_pairs
from .records import is_image_name

FEW_IMAGES = 10  # of a class to train on
IMBALANCE = 10.0  # the largest class over the smallest
_SHOWN = 50  # further files of one problem that are listed
_TEXT_SUFFIXES = (".csv", ".txt", ".md", ".json", ".xml", ".yaml", ".yml", ".html", ".pdf")

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One finding. `file` is "" where a class is meant; `files` are the others concerned, at most 50 of `count`."""

    kind: str
    severity: Severity
    message: str
    file: str = ""
    files: tuple[str, ...] = ()
    count: int = 1  # files concerned, `file` included
    label: str | None = None


@dataclass(frozen=True)
class Report:
    """The findings about a dataset; `ok` when none is an error. `per_class`: images by class name, then by split."""

    data: str
    form: str
    images: int
    classes: int
    per_class: dict[str, dict[str, int]]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(problem.severity == "error" for problem in self.problems)

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return self.errors == 0

    def to_json(self) -> dict[str, Any]:
        """The report as `mobilenets data check --json` prints it."""
        return {
            "data": self.data,
            "ok": self.ok,
            "form": self.form,
            "images": self.images,
            "classes": self.classes,
            "errors": self.errors,
            "warnings": len(self.problems) - self.errors,
            "per_class": [{"label": name, **counts} for name, counts in self.per_class.items()],
            "problems": [_problem_json(problem) for problem in self.problems],
            "notes": list(self.notes),
        }


def check(path: str | os.PathLike[str], *, labels: str | None = None) -> Report:
    """The problems of the data at `path` (whatever `open_dataset` opens), errors first, in a steady order.

    Every file is read and decoded; a problem in one never ends the check. Raises UserError only where the data cannot
    be understood at all. Kinds, with * where it is an error:

    - a file: `missing`*, `empty`*, `not_an_image`*, `truncated`*, `unreadable`*, `too_large`*, `other_file`
    - the same bytes again: `exact_duplicate`, `duplicate_across_splits`*, `duplicate_across_classes`*
    - the same picture again, resized, re-encoded, mirrored, …: `near_duplicate`, `near_duplicate_across_splits`,
      `near_duplicate_across_classes`
    - frames of one clip, by file name, or one stated group, in several splits: `clip_across_splits`,
      `group_across_splits`*
    - a class: `class_without_images`*, `class_without_training_images`*, `one_class`*, `few_images`, `imbalance`
    """
    dataset = open_dataset(path, labels=labels, strict=False)
    present = set(dataset.files.names)
    missing = [sample for sample in dataset.samples if sample.name not in present]
    samples = [sample for sample in dataset.samples if sample.name in present]
    found = prints(dataset, samples)
    problems = [
        *(_of_sample("missing", "error", "the file is named but not there", sample, dataset) for sample in missing),
        *_damaged(dataset, samples, found),
        *_other_files(dataset),
        *_exact(dataset, samples, found),
        *_near(dataset, samples, found),
        *_divided(dataset, samples, found),
        *_class_problems(dataset),
    ]
    problems.sort(key=lambda problem: problem.severity != "error")
    return Report(
        data=os.fspath(path),
        form=dataset.form,
        images=len(dataset.samples),
        classes=len(dataset.classes),
        per_class=_per_class(dataset),
        problems=tuple(problems),
        notes=dataset.notes,
    )


def _damaged(dataset: Dataset, samples: Sequence[Sample], found: Prints) -> Iterator[Problem]:
    """Files without a print, decoded once more to learn why."""
    for i in np.flatnonzero(~found.readable).tolist():
        try:
            decode_image(dataset.read(samples[i]))
        except ImageError as error:
            yield _of_sample(error.kind, "error", str(error), samples[i], dataset)
        except OSError as error:
            yield _of_sample("unreadable", "error", str(error), samples[i], dataset)


def _other_files(dataset: Dataset) -> Iterator[Problem]:
    """Files in class folders that are no images and no notes about them."""
    folders = {sample.name.rpartition("/")[0] for sample in dataset.samples} - {""}
    for name in dataset.files.names:
        known = is_image_name(name) or name.lower().endswith(_TEXT_SUFFIXES)
        if not known and name.rpartition("/")[0] in folders:
            yield Problem("other_file", "warning", "not a kind of file that is read as an image", name)


def _exact(dataset: Dataset, samples: Sequence[Sample], found: Prints) -> Iterator[Problem]:
    by_content: dict[bytes, list[Sample]] = defaultdict(list)
    for sample, digest, readable in zip(samples, found.digests, found.readable.tolist()):
        if readable:
            by_content[digest].append(sample)
    for members in by_content.values():
        if len(members) > 1:
            yield from _again("", "the same bytes", members, dataset)


def _near(dataset: Dataset, samples: Sequence[Sample], found: Prints) -> Iterator[Problem]:
    """Groups of near-duplicates, each counted by one file per content."""
    pairs = similar_pairs(found.records)
    keep = found.readable[pairs.a] & found.readable[pairs.b]
    ids = components(len(samples), pairs.a[keep], pairs.b[keep])
    for members in _members(ids.tolist()):
        contents = {found.digests[i]: samples[i] for i in reversed(members)}
        if len(contents) > 1:
            yield from _again("near_", "the same picture, or nearly", list(contents.values())[::-1], dataset)


def _again(prefix: str, what: str, members: list[Sample], dataset: Dataset) -> Iterator[Problem]:
    """The problems of files that show the same: across splits, across classes, or else within one of each."""
    splits = {sample.split for sample in members}
    labels = {sample.label for sample in members}
    serious: Severity = "error" if not prefix else "warning"
    if len(splits) > 1:
        where = _counted(str(sample.split) for sample in members)
        yield _of_group(f"{prefix}duplicate_across_splits", serious, f"{what} in {where}", members)
    if len(labels) > 1:
        where = _counted(dataset.classes[sample.label].name for sample in members)
        yield _of_group(f"{prefix}duplicate_across_classes", serious, f"{what} as {where}", members)
    if len(splits) == len(labels) == 1:
        kind = f"{prefix}duplicate" if prefix else "exact_duplicate"
        yield _of_group(kind, "warning", f"{what}, {len(members)} times", members)


def _divided(dataset: Dataset, samples: Sequence[Sample], found: Prints) -> Iterator[Problem]:
    """Clips, sittings and stated groups of which several splits hold a part."""
    if len(dataset.splits) < 2:
        return
    stated = [sample.group for sample in samples]
    rules: list[tuple[str, Severity, str, Sequence[str | None]]] = [
        ("group_across_splits", "error", "one stated group", stated)
    ]
    for named in named_groups(dataset, samples, found):
        rules.append(("clip_across_splits", "warning", named.what, named.keys))
    for kind, severity, what, keys in rules:
        for members in _members(keys):
            inside = [samples[i] for i in members]
            if len({sample.split for sample in inside}) > 1:
                where = _counted(str(sample.split) for sample in inside)
                yield _of_group(kind, severity, f"{what} ({keys[members[0]]}) in {where}", inside)


def _class_problems(dataset: Dataset) -> Iterator[Problem]:
    for name in dataset.empty:
        yield Problem("class_without_images", "error", f"class {name!r} has no image", label=name)
    trained = _per_class(dataset)
    names = [label.name for label in dataset.classes]
    count = Counter(sample.label for sample in dataset.samples if not dataset.splits or sample.split == "train")
    if not count:
        count = Counter(sample.label for sample in dataset.samples)
    used = sorted({sample.label for sample in dataset.samples})
    if len(used) < 2:
        yield Problem("one_class", "error", "images of one class only; at least two are needed", label=names[used[0]])
    for label in used:
        if count[label] == 0:
            message = f"class {names[label]!r} has images to measure but none to train on"
            yield Problem("class_without_training_images", "error", message, label=names[label])
        elif count[label] < FEW_IMAGES:
            message = f"class {names[label]!r} has {count[label]} images to train on; {FEW_IMAGES} or more are advised"
            yield Problem("few_images", "warning", message, label=names[label])
    filled = [label for label in used if count[label]]
    if len(filled) > 1 and trained:
        most, least = max(filled, key=lambda k: count[k]), min(filled, key=lambda k: count[k])
        if count[most] > IMBALANCE * count[least]:
            message = (
                f"class {names[most]!r} has {count[most] / count[least]:.0f} times as many images as {names[least]!r} "
                f"({count[most]} and {count[least]})"
            )
            yield Problem("imbalance", "warning", message, label=names[least])


def _per_class(dataset: Dataset) -> dict[str, dict[str, int]]:
    names = [label.name for label in dataset.classes]
    if len(set(names)) < len(names):  # two classes may share a name where index or wnid tells them apart
        names = [f"{label.name} ({label.wnid or label.index})" for label in dataset.classes]
    counts = Counter((sample.label, sample.split) for sample in dataset.samples)
    columns = dataset.splits or (None,)
    return {name: {split or "images": counts[i, split] for split in columns} for i, name in enumerate(names)}


def _members(keys: Iterable[Any]) -> list[list[int]]:
    """Indices of each key that stands more than once, in order of appearance; None is no key."""
    members: dict[Any, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        if key is not None:
            members[key].append(i)
    return [indices for indices in members.values() if len(indices) > 1]


def _counted(names: Iterable[str]) -> str:
    return " and ".join(f"{name} ({count})" for name, count in sorted(Counter(names).items()))


def _of_sample(kind: str, severity: Severity, message: str, sample: Sample, dataset: Dataset) -> Problem:
    return Problem(kind, severity, message, sample.name, label=dataset.classes[sample.label].name)


def _of_group(kind: str, severity: Severity, message: str, members: list[Sample]) -> Problem:
    others = tuple(sample.name for sample in members[1 : 1 + _SHOWN])
    return Problem(kind, severity, message, members[0].name, others, len(members))


def _problem_json(problem: Problem) -> dict[str, Any]:
    value: dict[str, Any] = {
        "kind": problem.kind,
        "severity": problem.severity,
        "file": problem.file,
        "message": problem.message,
    }
    if problem.files:
        value |= {"files": list(problem.files), "count": problem.count}
    if problem.label is not None:
        value["label"] = problem.label
    return value
