"""What is trained: the networks, their names, the inputs, and the paper's own figures beside them."""

from __future__ import annotations

import pytest

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import create_spec
from mobilenets.errors import UserError
from mobilenets.papers.experiments.designs import DESIGNS, Design, make_design

EVERY = [pytest.param(make_design(name, full=full), id=f"{name} {full}") for name in DESIGNS for full in (False, True)]


@pytest.mark.parametrize("design", EVERY)
def test_comparisons_are_differences_between_cells_that_exist(design: Design) -> None:
    names = [cell.name for cell in design.cells]
    assert len(set(names)) == len(names)
    for claim in design.claims:
        assert any(comparison.mean for comparison in claim.comparisons)
        for comparison in claim.comparisons:
            assert set(comparison.weights) <= set(names)
            assert sum(comparison.weights.values()) == pytest.approx(0)
            positive = sum(weight for weight in comparison.weights.values() if weight > 0)
            assert positive == pytest.approx(1)


@pytest.mark.parametrize("design", EVERY)
def test_the_claimed_better_side_of_every_comparison_costs_more(design: Design) -> None:
    macs = {
        cell.name: cost(create_spec(cell.model, width=cell.width, resolution=cell.resolution, total_stride=8)).macs
        for cell in design.cells
    }
    for claim in design.claims:
        for comparison in claim.comparisons:
            assert sum(weight * macs[cell] for cell, weight in comparison.weights.items()) > 0


def test_figure_4_whole_has_the_papers_sixteen_networks() -> None:
    design = make_design("v1.fig4", full=True, resolution=224)
    assert {(cell.width, cell.resolution) for cell in design.cells} == {
        (width, side) for width in (1.0, 0.75, 0.5, 0.25) for side in (224, 192, 160, 128)
    }
    assert {cell.resolution for cell in make_design("v1.fig4", full=True).cells} == {32, 28, 24, 20}


def test_figure_4_in_short_has_nine() -> None:
    cells = make_design("v1.fig4").cells
    assert [(cell.width, cell.resolution) for cell in cells[:4]] == [(1.0, 32), (1.0, 24), (1.0, 16), (0.5, 32)]
    assert len(cells) == 9


def test_tables_4_and_5_keep_the_papers_ratio_of_widths_and_its_differences() -> None:
    assert [cell.width for cell in make_design("v1.table4").cells] == [0.25, 0.25]
    for design, widths in (
        (make_design("v1.table5"), [0.375, 0.5]),
        (make_design("v1.table5", full=True), [0.75, 1.0]),
        (make_design("v1.table5", width=0.8), [pytest.approx(0.6), 0.8]),
    ):
        assert [cell.width for cell in design.cells] == widths
    for name, difference in (("v1.table4", 0.011), ("v1.table5", 0.031)):
        design = make_design(name)
        assert design.published(design.claims[0].comparisons[0]) == pytest.approx(difference)


def test_the_paper_prints_differences_of_alpha_at_224_pixels_alone() -> None:
    design = make_design("v1.fig4")
    printed = {c.label: design.published(c) for c in design.claims[0].comparisons}
    assert printed["α 1 - 0.5, 32 px"] == pytest.approx(0.706 - 0.637)
    assert printed["α 0.5 - 0.25, 32 px"] == pytest.approx(0.637 - 0.506)
    assert printed["α 1 - 0.5, 24 px"] is None
    assert printed["α 1 - 0.5, mean over inputs"] is None
    whole = make_design("v1.fig4", full=True)
    sides = {c.label: whole.published(c) for c in whole.claims[1].comparisons}
    assert sides["32 - 28 px, α 1"] == pytest.approx(0.706 - 0.691)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("v1.table6", {}, ["'v1.table6'", "v1.table4, v1.table5, v1.fig4"]),
        ("v1.fig4", {"resolution": 24}, ["resolution 24", "12 pixels"]),
        ("v1.table4", {"resolution": 15}, ["resolution 15", "16 or more"]),
        ("v1.fig4", {"resolution": 128}, ["resolution 128", "64 to 128", "96"]),
        ("v1.table5", {"width": 0}, ["width 0", "above 0"]),
    ],
)
def test_what_is_refused(name: str, settings: dict[str, float], words: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        make_design(name, **settings)  # type: ignore[arg-type]
    for word in words:
        assert word in str(refused.value)
