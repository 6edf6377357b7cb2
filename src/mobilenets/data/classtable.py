"""classes.csv or classes.txt: the names behind class ids."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .records import ClassLabel, Files
from .text import read_text

_NAME_HEADERS = ("class name", "name", "label", "class")
_ID_HEADERS = ("class id", "id", "index", "label id")
_WNID_HEADERS = ("wnid", "synset")


@dataclass(frozen=True)
class ClassTable:
    """Classes in the order of their ids."""

    file: str
    ids: tuple[int, ...]
    labels: tuple[ClassLabel, ...]

    def check(self, key: int | str, where: str) -> None:
        """Raises UserError, beginning with `where`, when the id or name is not in the table."""
        if isinstance(key, int):
            if key not in self.ids:
                raise UserError(f"{where}: class id {key}; {self.file} has ids {self.ids[0]} to {self.ids[-1]}")
        elif all(label.name != key for label in self.labels):
            raise UserError(f"{where}: label {key!r} is not in {self.file}")


def read_class_table(root: Path, files: Files, prefix: str, column: str = "fine") -> ClassTable | None:
    """The class table directly below `prefix`, or None. `column` is "fine" or "coarse".

    classes.csv has a header with a name and an id ("Class Name (str)", "Class ID (int)", "Coarse Class Name", …; what
    stands in parentheses is ignored); classes.txt has one name per line, the first with id 0.
    """
    for file in ("classes.csv", "classes.txt"):
        if prefix + file in files.names:
            text = read_text(root, files, prefix + file)
            rows = _rows(root, text, file, column)
            return _table(root, file, rows)
    return None


def _rows(root: Path, text: str, file: str, column: str) -> list[tuple[int, str, str | None]]:
    """(id, name, wnid) of every class row."""
    if file.endswith(".txt"):
        return [(i, line.strip(), None) for i, line in enumerate(line for line in text.splitlines() if line.strip())]
    try:
        rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{root}: {file} cannot be read as CSV ({error})") from error
    header = [re.sub(r"\(.*?\)", "", cell).strip().lower() for cell in rows[0]] if rows else []
    lead = "coarse " if column == "coarse" else ""
    name_at, id_at = _position(header, lead, _NAME_HEADERS), _position(header, lead, _ID_HEADERS)
    wnid_at = _position(header, lead, _WNID_HEADERS)
    if name_at is None:
        raise UserError(f"{root}: {file} has no column {lead}'name'; its columns are {', '.join(header) or 'none'}")
    found = []
    for number, row in enumerate(rows[1:]):
        try:
            identity = number if id_at is None else int(row[id_at])
            found.append((identity, row[name_at].strip(), None if wnid_at is None else row[wnid_at].strip()))
        except (IndexError, ValueError) as error:
            raise UserError(f"{root}: {file}:{number + 2}: expected a class name and an id, found {row}") from error
    return found


def _position(header: list[str], lead: str, wanted: tuple[str, ...]) -> int | None:
    return next((header.index(lead + name) for name in wanted if lead + name in header), None)


def _table(root: Path, file: str, rows: list[tuple[int, str, str | None]]) -> ClassTable:
    labels: dict[int, ClassLabel] = {}
    for identity, name, wnid in rows:
        label = ClassLabel(name, wnid=wnid or None)
        if identity < 0 or labels.setdefault(identity, label) != label:
            raise UserError(f"{root}: {file}: class id {identity} stands for {labels.get(identity, label).name!r} too")
    if not labels:
        raise UserError(f"{root}: {file} names no class")
    ids = tuple(sorted(labels))
    return ClassTable(file, ids, tuple(labels[i] for i in ids))
