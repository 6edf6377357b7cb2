"""Entries as plain data: what `--json` prints and the lines of the CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..atomic import write_text
from .entry import Entry, Row

FIELDS = ("id", "row", "figure", "unit", "published", "computed", "agree", "as_published", "footnotes", "source")


def entry_document(entry: Entry) -> dict[str, Any]:
    """An entry without its rows: how many there are, how many figures are compared, and how many of these agree."""
    agreement = [agrees for row in entry.rows for agrees in entry.agreement(row).values()]
    return {
        "id": entry.id,
        "title": entry.title,
        "source": entry.source,
        "rows": len(entry.rows),
        "compared": len(agreement),
        "agree": sum(agreement),
        "picture": bool(entry.draw),
    }


def row_document(entry: Entry, row: Row) -> dict[str, Any]:
    """A row with its figures in base units: multiply-adds, parameters, bytes, fractions; words as printed."""
    published, computed = {}, {}
    for column in entry.columns:
        figure = row.figures.get(column.key)
        if figure is None:
            continue
        value = column.published(figure)
        if value is not None:
            published[column.key] = value
        if figure.computed is not None:
            computed[column.key] = figure.computed
    return {
        "id": entry.id,
        "name": row.name,
        "published": published,
        "computed": computed,
        "agree": entry.agreement(row),
        "as_published": entry.as_published(row),
        "footnotes": [{"figures": list(keys), "text": note.text} for note, keys in entry.notes_on(row)],
        "source": row.source or entry.source,
    }


def write_csv(chosen: Sequence[Entry], path: Path) -> list[Path]:
    """Writes one line for each figure, published as printed and computed in the same unit; returns what was written.

    Into the file `path`, or into ID.csv for each entry where `path` is a folder or a name without an ending.
    """
    if path.is_dir() or not path.suffix:
        return [_write([entry], path / f"{entry.id}.csv") for entry in chosen]
    return [_write(chosen, path)]


def _write(chosen: Sequence[Entry], path: Path) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for entry in chosen:
        for row in entry.rows:
            writer.writerows(_lines(entry, row))
    write_text(path, text.getvalue())
    return path


def _lines(entry: Entry, row: Row) -> Iterator[dict[str, str]]:
    """The CSV lines of a row, one for each figure."""
    agreement, standing, notes = entry.agreement(row), entry.as_published(row), list(entry.notes_on(row))
    for column in entry.columns:
        figure = row.figures.get(column.key)
        if figure is None:
            continue
        agrees = agreement.get(column.key)
        yield {
            "id": entry.id,
            "row": row.name,
            "figure": column.key,
            "unit": column.title,
            "published": figure.printed,
            "computed": column.shown(figure).replace(",", ""),
            "agree": "" if agrees is None else "yes" if agrees else "no",
            "as_published": standing.get(column.key, ""),
            "footnotes": "; ".join(note.text for note, keys in notes if column.key in keys),
            "source": row.source or entry.source,
        }
