"""Class folders: the deepest folder is the class, and a folder named train, val or test is the split."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from mobilenets.data.records import SPLIT_ALIASES, ClassLabel, Dataset, Files, Sample, is_image_name
from mobilenets.errors import UserError

_WNID_LENGTH = 9


def read_folders(root: Path, files: Files) -> Dataset:
    """The dataset that the class folders below `root` hold. Classes are sorted by name.

    A class is the deepest folder. Where two different relative paths end in the same name, both are named by their
    path ("Apple/red", "Pear/red"); the same path in several splits is one class.
    """
    images = [tuple(name.split("/")) for name in files.names if is_image_name(name)]
    nested = [parts for parts in images if len(parts) > 1]
    if not nested:
        raise UserError(f"{root}: no class folders with images in it; expected one folder per class")
    depth = _split_depth(nested)
    paths: dict[tuple[str, ...], tuple[str, ...]] = {}
    for parts in nested:
        folder = parts[:-1]
        if folder not in paths:
            paths[folder] = folder if depth is None else folder[:depth] + folder[depth + 1 :]
    shared = _common_length(list(paths.values()))
    names = _class_names({path[shared:] or path[-1:] for path in paths.values()})
    classes = sorted(set(names.values()))
    index = {name: i for i, name in enumerate(classes)}
    samples = []
    for parts in nested:
        path = paths[parts[:-1]]
        label = index[names[path[shared:] or path[-1:]]]
        split = None if depth is None else SPLIT_ALIASES[parts[depth].lower()]
        samples.append(Sample("/".join(parts), label, split))
    return Dataset(root, "folders", tuple(_label(name) for name in classes), tuple(samples), files)


def _split_depth(images: list[tuple[str, ...]]) -> int | None:
    """The position in the path at which every image has the name of a split, or None."""
    for position in range(min(len(parts) for parts in images) - 1):
        if all(parts[position].lower() in SPLIT_ALIASES for parts in images):
            return position
    return None


def _common_length(paths: list[tuple[str, ...]]) -> int:
    length = min(len(path) for path in paths)
    for i in range(length):
        if any(path[i] != paths[0][i] for path in paths):
            return i
    return length


def _class_names(paths: set[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The name of each class path: its last folder, or the whole path where another class ends in the same."""
    same = defaultdict(list)
    for path in paths:
        same[path[-1]].append(path)
    return {path: path[-1] if len(same[path[-1]]) == 1 else "/".join(path) for path in paths}


def _label(name: str) -> ClassLabel:
    is_wnid = len(name) == _WNID_LENGTH and name[0] == "n" and name[1:].isdigit()
    return ClassLabel(name, wnid=name if is_wnid else None)
