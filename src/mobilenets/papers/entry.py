"""What `mobilenets paper` prints: entries of rows of figures, each as printed and as computed, and the footnotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

Value = int | float | str

PERCENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a row: as printed (empty: not printed), and as computed (None: stands as published).

    `computed` is in base units: multiply-adds, parameters, bytes, fractions.
    """

    printed: str = ""
    computed: Value | None = None

    @property
    def number(self) -> Decimal | None:
        """What is printed, as a number; None where it is a word, or nothing."""
        try:
            return Decimal(self.printed.replace(",", ""))
        except ArithmeticError:
            return None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an entry. A printed figure times `unit` is in base units; `title` names the unit for people.

    `fits` is the unit that the source's figures turn out to be counted in, where it is another one. `stands` says why
    the column's figures stand as published, where they are none that can be computed.
    """

    key: str
    title: str
    unit: Decimal = Decimal(1)
    fits: Decimal | None = None
    stands: str = ""

    def agrees(self, figure: Figure) -> bool | None:
        """Whether the computed figure, rounded or cut off after the printed decimals, is the printed one.

        None where only one of the two is there. Words agree when they are equal.

        >>> Column("macs", "multiply-adds, M", Decimal(10**6)).agrees(Figure("569", 568_740_352))
        True
        """
        if not figure.printed or figure.computed is None:
            return None
        printed = figure.number
        if printed is None or isinstance(figure.computed, str):
            return figure.printed == str(figure.computed)
        step = Decimal(1).scaleb(int(printed.as_tuple().exponent))
        ours = Decimal(figure.computed) / (self.fits or self.unit)
        return any(ours.quantize(step, rounding) == printed for rounding in (ROUND_HALF_UP, ROUND_DOWN))

    def published(self, figure: Figure) -> Value | None:
        """The printed figure in base units; a word stays one; None where nothing is printed."""
        number = figure.number
        if number is None:
            return figure.printed or None
        whole = number * self.unit
        return int(whole) if whole == whole.to_integral_value() and self.unit >= 1 else float(whole)

    def shown(self, figure: Figure) -> str:
        """The computed figure in the column's unit, with two decimals more than the printed one."""
        if figure.computed is None or isinstance(figure.computed, str):
            return figure.computed or ""
        number = figure.number
        decimals = -int(number.as_tuple().exponent) if number is not None else 0
        exact = isinstance(figure.computed, int) and (self.fits or self.unit) == 1
        value = Decimal(figure.computed) / (self.fits or self.unit) + 0  # -0 is 0
        return f"{value:,.{0 if exact else max(decimals, 0) + 2}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table, or a point of a figure. `stands` says why nothing, or not everything, is computed."""

    name: str
    figures: Mapping[str, Figure]
    stands: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A footnote: its text, the rows (patterns of `fnmatch` on their names) and the columns it is about.

    A `reason` says why a computed figure is not the printed one, and stands where they differ; a `remark` explains a
    figure, a `count` how one is computed.
    """

    text: str
    rows: str | tuple[str, ...] = "*"
    columns: tuple[str, ...] = ()
    kind: Literal["reason", "remark", "count"] = "reason"

    def is_about(self, row: Row, key: str) -> bool:
        """Whether the note hangs on this figure."""
        patterns = (self.rows,) if isinstance(self.rows, str) else self.rows
        if self.columns and key not in self.columns:
            return False
        return any(fnmatchcase(row.name, pattern) for pattern in patterns)


def remark(text: str, rows: str | tuple[str, ...] = "*", columns: tuple[str, ...] = ()) -> Note:
    """A footnote that explains, whether or not the figures agree."""
    return Note(text, rows, columns, "remark")


def counted(text: str, rows: str | tuple[str, ...] = "*", columns: tuple[str, ...] = ()) -> Note:
    """A footnote that says how figures are computed; it stands on computed ones."""
    return Note(text, rows, columns, "count")


@dataclass(frozen=True)
class Entry:
    """A table or figure of a paper, or of a page with published figures.

    `read` makes the rows; `draw` draws the entry into a matplotlib figure of `inches`, where it is one.
    """

    id: str
    title: str
    source: str
    columns: tuple[Column, ...]
    read: Callable[[], tuple[Row, ...]]
    notes: tuple[Note, ...] = ()
    first: str = "network"  # heading of the rows' names
    draw: Callable[[Entry, Any], None] | None = None
    inches: tuple[float, float] = (7.0, 4.4)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows, made once."""
        return self.read()

    def agreement(self, row: Row) -> dict[str, bool]:
        """For every figure of the row that is both printed and computed, whether the two agree."""
        found = ((c.key, c.agrees(row.figures[c.key])) for c in self.columns if c.key in row.figures)
        return {key: agrees for key, agrees in found if agrees is not None}

    def notes_on(self, row: Row) -> Iterator[tuple[Note, tuple[str, ...]]]:
        """The notes on a row with the columns they are about: a reason only where figures differ."""
        where = {
            "reason": {key for key, agrees in self.agreement(row).items() if not agrees},
            "remark": set(row.figures),
            "count": {key for key, figure in row.figures.items() if figure.computed is not None},
        }
        for note in self.notes:
            keys = tuple(c.key for c in self.columns if c.key in where[note.kind] and note.is_about(row, c.key))
            if keys:
                yield note, keys

    def as_published(self, row: Row) -> dict[str, str]:
        """For every figure of the row that is printed and not computed, why it stands as published."""
        return {
            c.key: c.stands or row.stands
            for c in self.columns
            if c.key in row.figures and row.figures[c.key].printed and row.figures[c.key].computed is None
        }

    def unexplained(self) -> list[tuple[str, str]]:
        """Rows and columns that differ without a footnote, or stand without a reason; a test holds there are none."""
        missing = []
        for row in self.rows:
            missing += [(row.name, key) for key, why in self.as_published(row).items() if not why]
            explained = {key for note, keys in self.notes_on(row) if note.kind == "reason" for key in keys}
            missing += [(row.name, key) for key, ok in self.agreement(row).items() if not ok and key not in explained]
        return missing
