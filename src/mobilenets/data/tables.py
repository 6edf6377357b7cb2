"""CSV with a column `file` and any of label, index, wnid, split and group; or with a 0/1 column of another name."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from .classtable import ClassTable, read_class_table
from .records import SPLIT_ALIASES, ClassLabel, Dataset, Files, Sample, is_image_name
from .text import parent_prefix, read_text, safe_relative

_COLUMNS = {
    "file": ("file", "filename", "file_name", "filepath", "path", "image", "image_path"),
    "label": ("label", "class", "class_name"),
    "index": ("index", "class_id", "class_index", "label_id"),
    "wnid": ("wnid", "synset"),
    "split": ("split", "subset"),
    "group": ("group",),
}
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "-1", "false", "no")


@dataclass(frozen=True)
class Table:
    """The rows of one CSV, or of several that stand for splits, with its columns by the names this program uses."""

    name: str
    columns: dict[str, str]  # our name -> the header's
    rows: tuple[tuple[str, dict[str, str]], ...]  # ("labels.csv:2", cells by header)
    header: tuple[str, ...]

    def cell(self, row: dict[str, str], column: str) -> str:
        """The cell of one of our columns, "" where the table has no such column."""
        header = self.columns.get(column)
        return "" if header is None else row[header].strip()

    @property
    def has_labels(self) -> bool:
        """Whether a column states the class: label, index or wnid."""
        return any(column in self.columns for column in ("label", "index", "wnid"))

    def binary_columns(self) -> list[str]:
        """Headers of other columns whose every cell is 0/1, -1/1, true/false or yes/no, with both present."""
        others = [name for name in self.header if name not in self.columns.values()]
        found = []
        for name in others:
            values = {row[name].strip().lower() for _, row in self.rows}
            if values <= {*_TRUE, *_FALSE} and values & set(_TRUE) and values & set(_FALSE):
                found.append(name)
        return found


def find_tables(root: Path, files: Files, prefix: str) -> list[Table]:
    """The CSV files directly below `prefix` that name image files; train.csv, val.csv and test.csv count as one."""
    names = [
        name
        for name in files.names
        if name.lower().endswith(".csv") and name.startswith(prefix) and name.count("/") == prefix.count("/")
    ]
    tables = []
    for name in names:
        if name.rsplit("/", 1)[-1].lower() != "classes.csv":
            table = read_table(root, files, name)
            if table is not None:
                tables.append(table)
    splits = [table for table in tables if _split_of(table.name) is not None]
    if len(splits) > 1 and len({table.header for table in splits}) == 1:
        rows = tuple(row for table in splits for row in table.rows)
        tables = [replace(splits[0], rows=rows)] + [table for table in tables if table not in splits]
    return tables


def read_table(root: Path, files: Files, name: str) -> Table | None:
    """One CSV, or None when it has no column of files. Raises UserError when it cannot be read."""
    text = read_text(root, files, name)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"{root}: {name} cannot be read as CSV ({error})") from error
    if not lines:
        raise UserError(f"{root}: {name} is empty")
    header = tuple(cell.strip() for cell in lines[0])
    lower = [cell.lower() for cell in header]
    columns = {
        ours: header[lower.index(theirs[0])]
        for ours, names in _COLUMNS.items()
        if (theirs := [candidate for candidate in names if candidate in lower])
    }
    if "file" not in columns:
        return None
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(header):
            raise UserError(f"{root}: {name}:{number}: {len(cells)} cells; the header has {len(header)}")
        rows.append((f"{name}:{number}", dict(zip(header, cells))))
    return Table(name, columns, tuple(rows), header)


def read_labelled(root: Path, files: Files, table: Table, labels: str | None = None) -> Dataset:
    """The dataset that a CSV states; `labels` names the column to take the class from, where it is not the usual one.

    Classes are told apart by index, else by wnid, else by label, and stand in that order; two rows that disagree about
    a class are refused. Of a 0/1 column `smiling` the classes are "not smiling" and "smiling". Rows that name no image
    file (a video) are left out and counted in the notes.
    """
    prefix = parent_prefix(table.name)
    rows = [row for row in table.rows if is_image_name(table.cell(row[1], "file"))]
    if not rows:
        raise UserError(f"{root}: no row of {table.name} names an image file")
    if labels is not None and labels != table.columns.get("label"):
        classes, places = _by_column(root, table, rows, labels)
    elif table.has_labels:
        classes, places = _by_identity(root, table, rows, read_class_table(root, files, prefix))
    else:
        classes, places = _by_column(root, table, rows, _only_binary_column(root, table))
    samples = tuple(
        Sample(
            safe_relative(root, where, table.cell(row, "file"), prefix),
            place,
            _split(root, where, table, row),
            table.cell(row, "group") or None,
        )
        for (where, row), place in zip(rows, places)
    )
    left_out = len(table.rows) - len(rows)
    notes = (f"{left_out} rows of {table.name} name no image file, left out",) if left_out else ()
    used = set(places)
    empty = tuple(label.name for i, label in enumerate(classes) if i not in used)
    return Dataset(root, "csv", classes, samples, files, notes, empty)


def with_columns(root: Path, dataset: Dataset, table: Table) -> Dataset:
    """The dataset of class folders with the groups, and where it has no splits the splits, that a CSV adds to it."""
    prefix = parent_prefix(table.name)
    rows = {safe_relative(root, where, table.cell(row, "file"), prefix): (where, row) for where, row in table.rows}
    samples = []
    for sample in dataset.samples:
        where, row = rows.get(sample.name, ("", None))
        if row is not None:
            split = sample.split if dataset.splits else _split(root, where, table, row)
            sample = replace(sample, group=table.cell(row, "group") or None, split=split)
        samples.append(sample)
    return replace(dataset, samples=tuple(samples))


_Classes = tuple[tuple[ClassLabel, ...], list[int]]  # the classes, and the place of each row's class among them
_Rows = list[tuple[str, dict[str, str]]]


def _only_binary_column(root: Path, table: Table) -> str:
    found = table.binary_columns()
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{root}: {table.name} has several 0/1 columns; name one as labels: {', '.join(found)}")
    raise UserError(
        f"{root}: {table.name} has no column label, index or wnid and no 0/1 column; "
        f"its columns are {', '.join(table.header)}"
    )


def _by_column(root: Path, table: Table, rows: _Rows, column: str) -> _Classes:
    if column not in table.header:
        raise UserError(f"{root}: {table.name} has no column {column!r}; its columns are {', '.join(table.header)}")
    values = [row[column].strip() for _, row in rows]
    if column in table.binary_columns():
        return (ClassLabel(f"not {column}"), ClassLabel(column)), [int(value.lower() in _TRUE) for value in values]
    for (where, _), value in zip(rows, values):
        if not value:
            raise UserError(f"{root}: {where}: no {column}")
    names = sorted(set(values))
    place = {name: i for i, name in enumerate(names)}
    return tuple(map(ClassLabel, names)), [place[value] for value in values]


def _by_identity(root: Path, table: Table, rows: _Rows, names: ClassTable | None) -> _Classes:
    """Classes by index, wnid or label; by the ids of a class table where one lies beside the CSV."""
    keys: list[int | str] = []
    stated: dict[int | str, ClassLabel] = {}
    for where, row in rows:
        label = _stated_label(f"{root}: {where}", table, row, names)
        key = label.index if label.index is not None else label.wnid or label.name
        known = stated.setdefault(key, label)
        if known != label:
            raise UserError(f"{root}: {where}: {_described(label)} disagrees with an earlier row, {_described(known)}")
        keys.append(key)
    if names is not None and all(isinstance(key, int) for key in keys):
        place = {identity: i for i, identity in enumerate(names.ids)}
        return names.labels, [place[int(key)] for key in keys]
    order = sorted(stated, key=lambda key: (isinstance(key, str), key))
    places = {key: i for i, key in enumerate(order)}
    return tuple(stated[key] for key in order), [places[key] for key in keys]


def _stated_label(where: str, table: Table, row: dict[str, str], names: ClassTable | None) -> ClassLabel:
    name, wnid, index = table.cell(row, "label"), table.cell(row, "wnid") or None, table.cell(row, "index")
    if index and not index.isdecimal():
        raise UserError(f"{where}: index {index!r}; whole numbers from 0 are allowed")
    identity = int(index) if index else int(name) if names is not None and name.isdecimal() else None
    if names is not None:
        names.check(name if identity is None else identity, where)
        place = names.ids.index(identity) if identity is not None else [x.name for x in names.labels].index(name)
        return ClassLabel(names.labels[place].name, names.ids[place], wnid or names.labels[place].wnid)
    if not (name or wnid or index):
        raise UserError(f"{where}: no label, index or wnid")
    return ClassLabel(name or wnid or index, identity, wnid)


def _described(label: ClassLabel) -> str:
    parts = {"index": label.index, "wnid": label.wnid, "label": label.name}
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value is not None)


def _split(root: Path, where: str, table: Table, row: dict[str, str]) -> str | None:
    if "split" not in table.columns:
        return _split_of(where.rsplit(":", 1)[0])
    value = table.cell(row, "split").lower()
    if value not in SPLIT_ALIASES:
        raise UserError(f"{root}: {where}: split {value!r}; allowed are {', '.join(SPLIT_ALIASES)}")
    return SPLIT_ALIASES[value]


def _split_of(name: str) -> str | None:
    return SPLIT_ALIASES.get(name.rsplit("/", 1)[-1].lower().removesuffix(".csv"))
