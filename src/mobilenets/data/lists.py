"""Lists: train.txt, val.txt and test.txt with `path, class id[, coarse id]` per line, and classes.csv beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .classtable import ClassTable, read_class_table
from .records import IMAGE_SUFFIXES, SPLIT_ALIASES, ClassLabel, Dataset, Files, Sample
from .text import parent_prefix, read_text, safe_relative

_SUFFIX = "|".join(map(re.escape, sorted(IMAGE_SUFFIXES)))
_LINE = re.compile(rf"(?P<path>.*(?:{_SUFFIX}))(?P<comma>\s*,\s*|\s+)(?P<rest>\S.*)", re.IGNORECASE)
_COLUMNS = ("fine", "coarse")


@dataclass(frozen=True)
class _Entry:
    where: str  # "train.txt:12", for messages
    path: str
    labels: tuple[str, ...]
    split: str | None


def find_lists(files: Files, prefix: str) -> list[str]:
    """The list files (train.txt and its like) directly below `prefix`; empty without a training list."""
    found = [
        name
        for name in files.names
        if name.startswith(prefix) and _split_of(name) is not None and name.count("/") == prefix.count("/")
    ]
    return found if any(_split_of(name) == "train" for name in found) else []


def read_lists(root: Path, files: Files, names: list[str], labels: str | None = None) -> Dataset:
    """The dataset that the list files `names` state. `labels` is "fine" (the first id, default) or "coarse".

    Ids index classes.csv (or classes.txt) where there is one, and then run from 0 to its last id; otherwise each id, or
    each name written in its place, is a class. Raises UserError naming the file and line of what is wrong.
    """
    column = 0 if labels is None else _COLUMNS.index(labels) if labels in _COLUMNS else -1
    if column < 0:
        raise UserError(f"labels {labels!r}: a list has {' and '.join(_COLUMNS)} labels")
    prefix = parent_prefix(names[0])
    entries = [entry for name in names for entry in _entries(root, files, name)]
    keys = [_key(entry, column, root) for entry in entries]
    table = read_class_table(root, files, prefix, _COLUMNS[column])
    classes, index = _classes(keys, entries, table, root)
    samples = []
    for entry, key in zip(entries, keys):
        path = safe_relative(root, entry.where, entry.path, prefix)
        samples.append(Sample(path, index[key], entry.split))
    used = {sample.label for sample in samples}
    empty = tuple(label.name for i, label in enumerate(classes) if i not in used)
    return Dataset(root, "lists", classes, tuple(samples), files, _notes(labels, entries, empty), empty)


def _split_of(name: str) -> str | None:
    stem, dot, suffix = name.rsplit("/", 1)[-1].lower().rpartition(".")
    return SPLIT_ALIASES.get(stem) if dot and suffix == "txt" else None


def _entries(root: Path, files: Files, name: str) -> list[_Entry]:
    entries = []
    for number, line in enumerate(read_text(root, files, name).splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{name}:{number}"
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{root}: {where}: expected 'path of an image, class id', found {line[:60]!r}")
        rest = match["rest"]
        parts = [part.strip() for part in (rest.split(",") if "," in match["comma"] + rest else rest.split())]
        entries.append(_Entry(where, match["path"].strip(), tuple(parts), _split_of(name)))
    return entries


def _key(entry: _Entry, column: int, root: Path) -> int | str:
    """The class id of a line, or the name that stands in its place."""
    if column >= len(entry.labels):
        raise UserError(f"{root}: {entry.where}: no {_COLUMNS[column]} label in this line")
    text = entry.labels[column]
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _classes(
    keys: list[int | str], entries: list[_Entry], table: ClassTable | None, root: Path
) -> tuple[tuple[ClassLabel, ...], dict[int | str, int]]:
    """The classes and the place of each id or name in them."""
    for key, entry in zip(keys, entries):
        if table is not None:
            table.check(key, f"{root}: {entry.where}")
        elif isinstance(key, int) and key < 0:
            raise UserError(f"{root}: {entry.where}: class id {key}; ids start at 0")
    if table is not None:
        places = {key: i for i, key in enumerate(table.ids)} | {label.name: i for i, label in enumerate(table.labels)}
        return table.labels, places
    if any(isinstance(key, str) for key in keys):
        names = sorted({str(key) for key in keys})
        return tuple(map(ClassLabel, names)), {key: names.index(str(key)) for key in set(keys)}
    ids = sorted({int(key) for key in keys})
    return tuple(ClassLabel(str(i), index=i) for i in ids), {key: place for place, key in enumerate(ids)}


def _notes(labels: str | None, entries: list[_Entry], empty: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if labels is None and any(len(entry.labels) > 1 for entry in entries):
        notes.append("the lists hold fine and coarse labels; the fine ones were read")
    if empty:
        named = ", ".join(empty[:3]) + (", …" if len(empty) > 3 else "")
        notes.append(f"{len(empty)} classes of the class table have no image ({named})")
    return tuple(notes)
