"""One function opens every form of labelled images: class folders, lists, CSV, archives, shards, public sets."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from .addresses import address_of, names_parquet
from .archives import is_archive_name, open_archive
from .folders import read_folders
from .huggingface import is_huggingface, open_huggingface
from .lists import find_lists, read_lists
from .parquet import open_parquet
from .records import ClassLabel, Dataset, Files, Sample, is_image_name
from .shards import is_shards, open_shards
from .sources import FolderFiles
from .tables import Table, find_tables, read_labelled, read_table, with_columns

__all__ = ["ClassLabel", "Dataset", "Sample", "open_dataset"]


def open_dataset(path: str | os.PathLike[str], *, labels: str | None = None, strict: bool = True) -> Dataset:
    """The labelled images at `path`: a folder, an archive, a list or CSV file, or the name of a public set.

    Of a folder (or archive), the first of these that is there is read, and what is left aside stands in the notes:

    1. lists: train.txt beside val.txt or test.txt, with `path, class id[, coarse id]` per line and classes.csv;
    2. a CSV with a column `file` and one of label, index or wnid;
    3. class folders, in train/val/test or not, with the `group` and `split` columns of a CSV that names the files;
    4. a CSV with one 0/1 column;
    5. the only archive that lies in the folder.

    `labels` chooses among label columns: "coarse" of a list, the name of a column of a CSV. An archive is read where
    it lies. "rock_paper_scissors" and the other names of `mobilenets.data.public` are downloaded once, "hands" is
    rendered once, where no such path exists. Tar shards (WebDataset's form), on disk or behind an address, are read by
    `mobilenets.data.shards`, parquet files that are named by `mobilenets.data.parquet`, Hugging Face data sets by
    `mobilenets.data.huggingface`.

    With `strict` (what training wants) a class without images, fewer than two classes, or a row whose file is absent
    is refused. Raises UserError, one line, for these and for whatever cannot be understood.
    """
    if names_parquet(address_of(path)):
        return open_parquet(path, labels=labels, strict=strict)
    if is_huggingface(path):
        dataset = open_huggingface(path, labels=labels)
        return _without_gaps(dataset) if strict else dataset
    if is_shards(path):
        return open_shards(path, labels=labels, strict=strict)
    root = _existing(path)
    if root.is_dir():
        dataset = _open_files(root, FolderFiles(root), labels)
    elif root.suffix.lower() in (".csv", ".txt"):
        dataset = _open_file(root, labels)
    else:
        dataset = _open_files(root, open_archive(root), labels)
    return _without_gaps(dataset) if strict else dataset


def _existing(path: str | os.PathLike[str]) -> Path:
    """The path itself, or the folder to which the public or rendered set of this name has been fetched."""
    from .public import PUBLIC_SETS, fetch

    root = Path(path)
    if root.exists():
        return root
    name = os.fspath(path)
    if name == "hands":
        from .hands import prepare

        return prepare()
    if name in PUBLIC_SETS:
        return fetch(name)
    siblings = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
    near = difflib.get_close_matches(root.name, [*siblings, *PUBLIC_SETS, "hands"], n=1)
    hint = f"; is {near[0]!r} meant?" if near else ""
    raise UserError(f"{name}: no such file or folder, and no set of this name{hint}")


def _open_files(root: Path, files: Files, labels: str | None) -> Dataset:
    prefix = _prefix(files)
    lists = find_lists(files, prefix)
    if lists:
        return read_lists(root, files, lists, labels)
    tables = find_tables(root, files, prefix)
    if labels is not None and tables:
        chosen = next((table for table in tables if labels in table.header), tables[0])
        return read_labelled(root, files, chosen, labels)
    labelled = next((table for table in tables if table.has_labels), None)
    if labelled is not None:
        return read_labelled(root, files, labelled)
    folders = read_folders(root, files)
    if folders is not None and len(folders.classes) > 1:
        return _folders_and_tables(root, folders, tables)
    if tables:
        return read_labelled(root, files, tables[0])
    if folders is not None:
        return folders
    return _open_inner_archive(root, files, labels)


def _prefix(files: Files) -> str:
    """The folder that lists and CSV files are looked for in: the root, or the only folder at the top, and so on."""
    prefix = ""
    while True:
        below = [name[len(prefix) :].split("/") for name in files.names if name.startswith(prefix)]
        top = {parts[0] for parts in below if len(parts) > 1}
        has_text = any(len(parts) == 1 and parts[0].lower().endswith((".csv", ".txt")) for parts in below)
        if len(top) != 1 or has_text:
            return prefix
        prefix += top.pop() + "/"


def _folders_and_tables(root: Path, dataset: Dataset, tables: list[Table]) -> Dataset:
    """Class folders, with what the CSV files beside them add."""
    for table in tables:
        dataset = with_columns(root, dataset, table)
        for column in table.binary_columns():
            note = f"the classes are the folders; {table.name} has a 0/1 column too (labels={column!r} reads it)"
            dataset = replace(dataset, notes=(*dataset.notes, note))
    return dataset


def _open_inner_archive(root: Path, files: Files, labels: str | None) -> Dataset:
    archives = [name for name in files.names if is_archive_name(name)]
    if len(archives) == 1 and isinstance(files, FolderFiles):
        inner = root / archives[0]
        dataset = _open_files(inner, open_archive(inner), labels)
        return replace(dataset, notes=(f"read from {archives[0]}, the only archive in {root}", *dataset.notes))
    images = sum(map(is_image_name, files.names))
    found = f"{images} images in no class folder" if images else f"{len(files.names)} files, no image"
    if len(archives) > 1:
        found = f"{len(archives)} archives ({', '.join(archives[:3])}): give one of them"
    elif not files.names:
        found = "nothing: it is empty"
    raise UserError(
        f"{root}: found {found}; expected one folder per class, train.txt with classes.csv, a CSV with a column "
        "'file', or an archive of these"
    )


def _open_file(path: Path, labels: str | None) -> Dataset:
    """The dataset that one .csv or .txt states, its paths relative to the folder it lies in."""
    files = FolderFiles(path.parent)
    if path.suffix.lower() == ".txt":
        return read_lists(path.parent, files, [path.name], labels)
    table = read_table(path.parent, files, path.name)
    if table is None:
        raise UserError(f"{path}: no column 'file', so it labels no images")
    return read_labelled(path.parent, files, table, labels)


def _without_gaps(dataset: Dataset) -> Dataset:
    """The dataset, each file once. UserError where files are absent or named for two classes, or classes are empty."""
    if len({sample.label for sample in dataset.samples}) < 2:
        only = dataset.classes[dataset.samples[0].label].name
        beside = f" ({', '.join(dataset.empty[:3])}: none)" if dataset.empty else ""
        raise UserError(f"{dataset.root}: only one class has images, {only!r}{beside}; at least two are needed")
    if dataset.empty and dataset.form == "folders":
        raise UserError(f"{dataset.root}: no image in class folder {dataset.empty[0]!r}; remove it or fill it")
    present = set(dataset.files.names)
    absent = [sample.name for sample in dataset.samples if sample.name not in present]
    if absent:
        raise UserError(f"{dataset.root}: {len(absent)} files that are named are not there, the first is {absent[0]}")
    unique: dict[str, Sample] = {}
    for sample in dataset.samples:
        known = unique.setdefault(sample.name, sample)
        if (known.label, known.split) != (sample.label, sample.split):
            raise UserError(f"{dataset.root}: {sample.name} is named twice, for different classes or splits")
    if len(unique) == len(dataset.samples):
        return dataset
    note = f"{len(dataset.samples) - len(unique)} files that are named twice, counted once"
    return replace(dataset, samples=tuple(unique.values()), notes=(*dataset.notes, note))
