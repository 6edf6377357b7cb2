"""`paper`: the papers' tables and figures, published beside computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError
from . import output
from .output import Answer

if TYPE_CHECKING:
    from ..papers.entry import Entry, Row


def paper(
    table: tuple[str, ...] = (),
    /,
    *,
    csv: Path | None = None,
    png: Path | None = None,
    train: bool = False,
    data: str | None = None,
    out: Path | None = None,
    seeds: int | None = None,
    seconds: float | None = None,
    epochs: int | None = None,
    full: bool = False,
    resolution: int | None = None,
    width: float | None = None,
    precision: Literal["auto", "float32", "bfloat16"] | None = None,
    workers: int | None = None,
    restart: bool = False,
) -> Answer:
    """Prints the papers' tables and figures, published beside computed; lists them where none is named.

    Every cost is computed from the networks here and compared after the printed decimals. Accuracies, latencies and
    other networks' rows stand as published. JSON: {"entries": [...], "rows": [...]}.

    With --train the experiment of v1.table4, v1.table5 or v1.fig4 is repeated on your images: every network is trained
    from several seeds, all for the same passes over the images, and each ordering that the paper claims gets a verdict.
    The same command again goes on where it stopped, or prints what it found.

    Args:
        table: an id of the list (v1.table8, v1.fig4), a pattern (v2.table?), a paper (v3) or `all`
        csv: file to write the figures into, one a line, or a folder for a file of each table
        png: file for the picture of one figure, or a folder for those of several
        train: repeat the experiment on --data, in place of printing the paper's figures
        data: with --train: labelled images, whatever `train` takes
        out: with --train: folder of its runs, rows.jsonl and plot; experiment-ID where left out
        seeds: with --train: trainings of each network, 3 where left out; more than before adds to what is there
        seconds: with --train: time of this machine for a training on average, which sets the passes; 60 where left out
        epochs: with --train: passes over the images, in place of choosing them by --seconds
        full: with --train: the paper's widths, and all 16 networks of figure 4
        resolution: with --train: side in pixels that stands for the paper's 224; 32 where left out
        width: with --train: width that stands for the paper's 1; 1 for figure 4, 0.25 for table 4, 0.5 for table 5
        precision: with --train: of all trainings; auto, where left out, takes bfloat16 where that is faster
        workers: with --train: trainings at once, each with one thread; one for each core, at most 8, where left out
        restart: with --train: begin anew: what the folder holds is deleted
    """
    from ..papers.document import entry_document, row_document, write_csv
    from ..papers.drawing import pictures
    from ..papers.registry import ENTRIES, entries

    settings = {
        "data": data,
        "out": out,
        "seeds": seeds,
        "seconds": seconds,
        "epochs": epochs,
        "full": full,
        "resolution": resolution,
        "width": width,
        "precision": precision,
        "workers": workers,
        "restart": restart,
    }
    given = {name: value for name, value in settings.items() if value is not None and value is not False}
    if train:
        from .experiments import experiment

        for name, path in (("csv", csv), ("png", png)):
            if path is not None:
                raise UserError(f"--{name} {path} goes without --train, which writes its own files into --out")
        return experiment(table, given)
    for name in given:
        raise UserError(f"--{name} goes with --train")
    if not table:
        if csv or png:
            raise UserError(f"--{'csv' if csv else 'png'} needs tables or figures to write; `all` means every one")
        return _listing(list(ENTRIES.values()))
    chosen = entries(table)
    written = pictures(chosen, png) if png else []
    if csv:
        written += write_csv(chosen, csv)
    document: dict[str, Any] = {
        "entries": [entry_document(entry) for entry in chosen],
        "rows": [row_document(entry, row) for entry in chosen for row in entry.rows],
        "written": [str(path) for path in written],
    }

    def show() -> None:
        for number, entry in enumerate(chosen):
            if number:
                output.line("")
            _show(entry)
        for path in written:
            output.line(str(path))

    return Answer(document, show)


def _listing(known: list[Entry]) -> Answer:
    """Every entry with how many of its figures agree."""
    from ..papers.document import entry_document

    documents = [entry_document(entry) for entry in known]

    def show() -> None:
        output.table(
            ["id", "what", ">rows", ">compared", ">agree", "picture"],
            [
                [d["id"], d["title"], d["rows"], d["compared"] or "", d["agree"] or "", "yes" if d["picture"] else ""]
                for d in documents
            ],
        )
        output.line("")
        compared, agree = (sum(d[key] for d in documents) for key in ("compared", "agree"))
        output.line(f"{agree:,} of {compared:,} computed figures agree as printed, the others have a footnote")
        output.line("`mobilenets paper ID…` prints them; `all` means every one")

    return Answer({"entries": documents, "rows": [], "written": []}, show)


def _show(entry: Entry) -> None:
    """One entry: title, table, footnotes, what stands as published and why, source."""
    notes: dict[str, int] = {}
    figures = [
        (column, row.figures[column.key]) for row in entry.rows for column in entry.columns if column.key in row.figures
    ]
    printed = {column.key for column, figure in figures if figure.printed}
    computed = {column.key for column, figure in figures if figure.computed is not None}
    heads = [entry.first]
    for column in entry.columns:
        title = ">" + column.title.replace(", ", "\n")
        heads += [f"{title}\npublished"] if column.key in printed else []
        heads += [f"{title}\ncomputed"] if column.key in computed else []
    lines = []
    for row in entry.rows:
        marks = _marks(entry, row, notes)
        cells = [row.name]
        for column in entry.columns:
            figure = row.figures.get(column.key)
            shown = column.shown(figure) if figure else ""
            mark = marks.get(column.key, "")
            if column.key in printed:
                cells.append(figure.printed + mark * (not shown) if figure else "")
            if column.key in computed:
                cells.append(shown + mark * bool(shown))
        lines.append(cells)
    output.line(f"{entry.id}: {entry.title}")
    output.table(heads, lines)
    for text, number in notes.items():
        output.line(f"[{number}] {text}")
    for why, places in _standing(entry).items():
        output.line(f"as published ({why}): {'; '.join(places)}")
    output.line(f"source: {entry.source}")


def _marks(entry: Entry, row: Row, notes: dict[str, int]) -> dict[str, str]:
    """The footnote signs of a row by column; `notes` numbers the texts in the order they are met."""
    marks: dict[str, str] = {}
    for note, keys in entry.notes_on(row):
        number = notes.setdefault(note.text, len(notes) + 1)
        for key in keys:
            marks[key] = f"{marks.get(key, '')} [{number}]"
    return marks


def _standing(entry: Entry) -> dict[str, list[str]]:
    """Why figures stand as published -> the columns, or else the rows, of which that is true."""
    standing = [entry.as_published(row) for row in entry.rows]
    found: dict[str, list[str]] = {}
    for column in entry.columns:
        if column.stands and any(column.key in each for each in standing):
            found.setdefault(column.stands, []).append(column.title)
    for row, each in zip(entry.rows, standing):
        if row.stands in each.values():
            found.setdefault(row.stands, []).append(row.name)
    return found
