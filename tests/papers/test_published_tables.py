"""Every entry: each figure agrees as printed or has a footnote, and each line of the published files is read."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from mobilenets.errors import UserError
from mobilenets.papers.entry import Entry
from mobilenets.papers.lines import lines_of
from mobilenets.papers.registry import ENTRIES, entries

FOLDER = Path(str(files("mobilenets.papers"))) / "published"
EACH = pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.id)


@EACH
def test_every_figure_agrees_or_has_a_footnote_or_a_reason_to_stand(entry: Entry) -> None:
    assert entry.rows
    assert entry.unexplained() == []


@EACH
def test_every_footnote_is_about_a_figure(entry: Entry) -> None:
    used = {note for row in entry.rows for note, _ in entry.notes_on(row)}
    assert [note.text for note in entry.notes if note not in used] == []


@EACH
def test_rows_have_names_of_their_own_and_known_columns(entry: Entry) -> None:
    names = [row.name for row in entry.rows]
    assert len(set(names)) == len(names)
    keys = {column.key for column in entry.columns}
    for row in entry.rows:
        assert row.figures.keys() <= keys
        assert row.figures


def test_packaged_tables_equal_the_shared_ones(shared: Path) -> None:
    for path in FOLDER.glob("*.csv"):
        assert path.read_bytes() == (shared / "published" / path.name).read_bytes(), f"copy {path.name} again"


def test_every_line_names_its_source() -> None:
    for path in FOLDER.glob("*.csv"):
        lines = lines_of(path.stem)
        assert len(lines) == len(list(csv.reader(path.read_text(encoding="utf-8").splitlines()))) - 1
        for line in lines:
            assert line["source"], path.name
            assert line["confidence"].startswith("found")


def test_words_mean_ids_groups_patterns_and_all() -> None:
    assert [entry.id for entry in entries(["v1.table4", "V1.TABLE3", "v1.table4"])] == ["v1.table4", "v1.table3"]
    assert {entry.id for entry in entries(["v1"])} == {id for id in ENTRIES if id.startswith("v1.")}
    assert len(entries(["all"])) == len(ENTRIES)
    with pytest.raises(UserError, match=r"unknown table or figure 'v1.tabel4'; did you mean v1.table4"):
        entries(["v1.tabel4"])
    with pytest.raises(UserError, match=r"'nothing'; `mobilenets paper` lists them"):
        entries(["nothing"])
