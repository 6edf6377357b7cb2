"""Class folders: the deepest folder is the class, and a folder named train, val or test is the split."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from .records import SPLIT_ALIASES, ClassLabel, Dataset, Files, Sample, is_image_name

Parts = tuple[str, ...]  # the folders of a relative path, outermost first
_WNID_LENGTH = 9


def read_folders(root: Path, files: Files) -> Dataset | None:
    """The dataset that the class folders below `root` hold, or None when no image lies in a folder.

    Classes are sorted by name (code points, as `ImageFolder` of torchvision does). A class is the deepest folder; where
    two different relative paths end in the same name, both are named by their path ("Apple/red", "Pear/red"). The
    same path in several splits is one class. Folders that hold all the data (`images/…`) are no part of a name.
    """
    images = [tuple(name.split("/")) for name in files.names if is_image_name(name)]
    nested = [parts for parts in images if len(parts) > 1]
    if not nested:
        return None
    folders = {parts[:-1] for parts in nested}
    depth, aside = _split_depth(folders)
    folders = {folder for folder in folders if not _is_aside(folder, depth, aside)}
    paths = {folder: _without(folder, depth) for folder in folders}
    shared = _common_length([path for path in paths.values() if path])
    names = _class_names({path[shared:] or path[-1:] for path in paths.values() if path})
    class_of = {folder: names[path[shared:] or path[-1:]] for folder, path in paths.items() if path}
    classes = sorted(set(class_of.values()))
    index = {name: i for i, name in enumerate(classes)}
    samples = tuple(
        Sample(
            "/".join(parts),
            index[class_of[parts[:-1]]],
            None if depth is None else SPLIT_ALIASES[parts[depth].lower()],
        )
        for parts in nested
        if parts[:-1] in class_of
    )
    if not samples:
        return None
    return Dataset(
        root=root,
        form="folders",
        classes=tuple(_label(name) for name in classes),
        samples=samples,
        files=files,
        notes=_notes(len(images) - len(samples), aside),
        empty=_empty_classes(files, paths, depth),
    )


def _split_depth(folders: set[Parts]) -> tuple[int | None, tuple[str, ...]]:
    """The position of the split in every path, and what lies aside at that position; (None, ()) without splits.

    Every image lies below a split's name at that position; or `train` and another split stand there, each with
    class folders in it, beside further folders, which are then left aside. "train" beside "bus" and "car" is a class.
    """
    for position in range(min(len(folder) for folder in folders)):
        if all(folder[position].lower() in SPLIT_ALIASES for folder in folders):
            return position, ()
    position = _common_length(list(folders))
    inside = defaultdict(set)
    for folder in folders:
        if len(folder) > position:
            inside[folder[position]].add(folder[position + 1 :])
    splits = {name for name, below in inside.items() if name.lower() in SPLIT_ALIASES and () not in below}
    if len(splits) >= 2 and any(SPLIT_ALIASES[name.lower()] == "train" for name in splits):
        return position, tuple(sorted(set(inside) - splits))
    return None, ()


def _is_aside(folder: Parts, depth: int | None, aside: tuple[str, ...]) -> bool:
    return bool(aside) and depth is not None and (len(folder) <= depth or folder[depth] in aside)


def _without(folder: Parts, depth: int | None) -> Parts:
    return folder if depth is None else folder[:depth] + folder[depth + 1 :]


def _common_length(paths: list[Parts]) -> int:
    """How many leading folders all paths share."""
    length = min((len(path) for path in paths), default=0)
    for i in range(length):
        if any(path[i] != paths[0][i] for path in paths):
            return i
    return length


def _class_names(paths: set[Parts]) -> dict[Parts, str]:
    """The name of each class path: its last folder, or the whole path where another class ends in the same."""
    same = defaultdict(list)
    for path in paths:
        same[path[-1]].append(path)
    return {path: path[-1] if len(same[path[-1]]) == 1 else "/".join(path) for path in paths}


def _empty_classes(files: Files, paths: dict[Parts, Parts], depth: int | None) -> tuple[str, ...]:
    """Folders beside the class folders that hold no image, unless the same class has images in another split."""
    filled = {folder[:end] for folder in paths for end in range(1, len(folder) + 1)}
    levels = {folder[:-1] for folder in paths if len(folder) > (0 if depth is None else depth + 1)}
    known = set(paths.values())
    empty = []
    for name in files.folders:
        folder = tuple(name.split("/"))
        if folder not in filled and folder[:-1] in levels and _without(folder, depth) not in known:
            empty.append(name)
    return tuple(empty)


def _notes(loose: int, aside: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if aside:
        notes.append(f"beside train, val and test, left out: {', '.join(aside)}")
    if loose:
        notes.append(f"{loose} images that lie in no class folder, left out")
    return tuple(notes)


def _label(name: str) -> ClassLabel:
    last = name.rsplit("/", 1)[-1]
    is_wnid = len(last) == _WNID_LENGTH and last[0] == "n" and last[1:].isdigit()
    return ClassLabel(name, wnid=last if is_wnid else None)
