"""What a verb answers, and how it is printed: one JSON document for a program, tables for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_CLASSES = 40  # rows of a table with one row for each class; --json has all


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb found. `ok` False means done, and the answer is no: status 1, printed all the same.

    `show` prints it for a person on stdout; `document` is what `--json` prints.
    """

    document: Any
    show: Callable[[], None]
    ok: bool = True


def emit(answer: Answer, wants_json: bool) -> None:
    """Prints the answer on stdout and flushes it. NaN and infinity raise ValueError: JSON has neither."""
    if wants_json:
        # ASCII only: a label or file name prints whatever the locale, and file names that are no UTF-8 survive.
        print(json.dumps(answer.document, indent=2, allow_nan=False))
    else:
        answer.show()
    sys.stdout.flush()


def printer() -> Console:
    """A console on stdout: colours and the terminal's width for a person, neither for a pipe or a file."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=_width())


def _width() -> int | None:
    return None if sys.stdout.isatty() else 200


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Prints a table on stdout. A column whose name starts with `>` is aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    grid.show_edge = False
    for column in columns:
        grid.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    printer().print(grid)


def line(text: str) -> None:
    """Prints one line on stdout."""
    print(text)


def count(number: int) -> str:
    """A number with thousands separated: 4,231,976."""
    return f"{number:,}"


def millions(number: float) -> str:
    """A number in millions: 568.74 M."""
    return f"{number / 1e6:,.2f} M"


def megabytes(size_bytes: float) -> str:
    """Bytes / 10^6: 16.93 MB."""
    return f"{size_bytes / 1e6:,.2f} MB"


def percent(rate: float, interval: Sequence[float] | None = None) -> str:
    """A fraction as percent, with its 95 % interval: 95.2 % (93.1-96.8)."""
    text = f"{100 * rate:.1f} %"
    return f"{text} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})" if interval else text
