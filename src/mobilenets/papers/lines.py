"""The published figures as they lie in the package: lines of CSV files, by column."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

Line = dict[str, str]


@cache
def lines_of(table: str) -> tuple[Line, ...]:
    """The lines of `published/TABLE.csv`, in order."""
    text = (files("mobilenets.papers") / "published" / f"{table}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
