"""Agreement after the printed decimals, footnotes, and what a figure is in base units."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mobilenets.papers.counting import MACS, PARAMS, TOP1
from mobilenets.papers.entry import Column, Entry, Figure, Note, Row, remark

MACS_OF_V2 = 300_774_272


@pytest.mark.parametrize(("printed", "agrees"), [("300", True), ("301", True), ("299", False), ("300.8", True)])
def test_figures_agree_rounded_or_cut_off_after_the_printed_decimals(printed: str, agrees: bool) -> None:
    assert MACS.agrees(Figure(printed, MACS_OF_V2)) is agrees


def test_only_what_is_printed_and_computed_is_compared() -> None:
    assert MACS.agrees(Figure("300")) is None
    assert MACS.agrees(Figure("", MACS_OF_V2)) is None
    assert Column("stride", "stride").agrees(Figure("Conv / s2", "Conv / s1")) is False
    assert Column("stride", "stride").agrees(Figure("Conv / s2", "Conv / s2")) is True


def test_a_source_that_counts_in_another_unit_is_compared_in_it() -> None:
    column = Column("macs", "multiply-adds, G", Decimal(10**9), fits=Decimal(2**30))
    assert column.agrees(Figure("5.9", 6_376_220_672))
    assert column.published(Figure("5.9", 6_376_220_672)) == 5_900_000_000
    assert not Column("macs", "multiply-adds, G", Decimal(10**9)).agrees(Figure("5.9", 6_376_220_672))


def test_base_units_and_what_people_read() -> None:
    assert TOP1.published(Figure("70.6")) == 0.706
    assert MACS.published(Figure("569", 1)) == 569_000_000
    assert PARAMS.published(Figure("4.2", 1)) == 4_200_000
    assert Column("latency", "latency, ms").published(Figure("Failed")) == "Failed"
    assert MACS.published(Figure("", 1)) is None
    assert PARAMS.shown(Figure("4.2", 4_231_976)) == "4.232"
    assert MACS.shown(Figure("4866", 4_867_293_184)) == "4,867.29"


def entry(*notes: Note) -> Entry:
    rows = (
        Row(name="right", figures={"macs": Figure("301", MACS_OF_V2), "top1": Figure("72.0")}),
        Row(name="wrong", figures={"macs": Figure("299", MACS_OF_V2), "params": Figure("1")}),
    )
    return Entry(id="x", title="x", source="x", columns=(TOP1, MACS, PARAMS), read=lambda: rows, notes=notes)


def test_a_reason_stands_where_figures_differ_and_a_remark_wherever_it_fits() -> None:
    reason, told = Note("because", columns=("macs",)), remark("by the way", "right", ("macs", "top1"))
    right, wrong = (list(entry(reason, told).notes_on(row)) for row in entry().rows)
    assert right == [(told, ("top1", "macs"))]
    assert wrong == [(reason, ("macs",))]


def test_what_lacks_a_footnote_or_a_reason_is_found() -> None:
    assert entry().unexplained() == [("wrong", "params"), ("wrong", "macs")]
    assert entry(Note("because", "wrong")).unexplained() == [("wrong", "params")]
    assert entry(remark("by the way")).unexplained() == [("wrong", "params"), ("wrong", "macs")]
