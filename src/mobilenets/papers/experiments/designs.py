"""What each experiment trains and what its paper claims of it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from ...arch.adapt import SMALLEST_RESOLUTION
from ...arch.check import check_count, check_number
from ...errors import UserError
from ..lines import lines_of

RESOLUTION = 32  # pixels that stand for the paper's 224, where nobody says
WHOLE_PICTURES = 96  # up to this side a picture is scored whole, above its border is cut away: `training.begin`
_PIXELS = 4  # a scaled resolution is a multiple of this: 32 px gives 32, 28, 24, 20 for 224, 192, 160, 128


@dataclass(frozen=True, slots=True)
class Cell:
    """One network of an experiment, trained once for each seed. `name` is unlike that of any other cell.

    `model` is an architecture, `width` its multiplier, `resolution` the side of the input in pixels. `label` and `line`
    are for people: what the cell is called, and which line of the plot it stands on. `paper` is the top-1 on ImageNet
    that the paper prints for the network it stands for (a fraction), None where it prints none.
    """

    name: str
    model: str
    width: float
    resolution: int
    label: str
    line: str
    paper: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference that its claim says is above 0: the sum over cells of weight times mean top-1.

    `mean`: over all levels of the other factor, which decides on the claim.
    """

    label: str
    weights: Mapping[str, float]
    mean: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """An ordering that the paper reports, and the comparisons that show it or do not."""

    text: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Design:
    """An experiment: `resolution` is the largest input in pixels, `base` the width that stands for the paper's 1.0."""

    name: str
    title: str
    source: str
    resolution: int
    base: float
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]

    def published(self, comparison: Comparison) -> float | None:
        """What the comparison comes to in the paper; None where it does not print every cell's top-1."""
        paper = {cell.name: cell.paper for cell in self.cells}
        parts = [None if (top1 := paper[cell]) is None else w * top1 for cell, w in comparison.weights.items()]
        found = [part for part in parts if part is not None]
        return round(sum(found), 4) if len(found) == len(parts) else None


def make_design(name: str, *, full: bool = False, resolution: int | None = None, width: float | None = None) -> Design:
    """The experiment of that name.

    `resolution` is the input that stands for the paper's 224 pixels, 32 where None; `width` stands for its width 1.0.
    Without `full` networks are scaled to what trains on a CPU in minutes: table 4 at a quarter of the width, table 5 at
    half of it, figure 4 with nine of its cells, α 1, 0.5, 0.25 at the whole, three quarters and half of the resolution.
    `full` takes the paper's widths, and for figure 4 its 16 cells. Raises UserError on an unknown name or a value out
    of range.
    """
    if name not in DESIGNS:
        raise UserError(f"no experiment {name!r} can be repeated here; allowed: {', '.join(DESIGNS)}")
    resolution = check_count("resolution", RESOLUTION if resolution is None else resolution, SMALLEST_RESOLUTION)
    if width is not None:
        width = check_number("width", width, above=0, most=2)
    design = DESIGNS[name](full, resolution, width)
    sides = [cell.resolution for cell in design.cells]
    if min(sides) < SMALLEST_RESOLUTION:
        raise UserError(
            f"resolution {resolution} is too small for {name}: its smallest input is {min(sides)} pixels, "
            f"allowed is {SMALLEST_RESOLUTION} or more"
        )
    if min(sides) <= WHOLE_PICTURES < max(sides):
        raise UserError(
            f"resolution {resolution} gives {name} inputs from {min(sides)} to {max(sides)} pixels, and those up to "
            f"{WHOLE_PICTURES} are cropped in another way: allowed is up to {WHOLE_PICTURES}, or all above"
        )
    return design


def _table4(full: bool, resolution: int, width: float | None) -> Design:
    base = width or (1.0 if full else 0.25)
    conv, dw = (
        Cell(kind, model, base, resolution, label, label, _published("v1_table04_depthwise_vs_full_conv", row))
        for kind, model, label, row in (
            ("full_conv", "mobilenet_v1_full_conv", "full convolutions", "Conv MobileNet"),
            ("separable", "mobilenet_v1", "depthwise separable", "MobileNet"),
        )
    )
    difference = Comparison("full convolutions - depthwise separable", {conv.name: 1, dw.name: -1})
    return Design(
        "v1.table4",
        "full convolutions against depthwise separable ones",
        "Howard et al. 2017, arXiv:1704.04861, table 4",
        resolution,
        base,
        (conv, dw),
        (Claim("full convolutions are more accurate, at several times the cost", (difference,)),),
    )


def _table5(full: bool, resolution: int, width: float | None) -> Design:
    base = width or (1.0 if full else 0.5)
    thin, shallow = (
        Cell(label, model, width, resolution, label, label, _published("v1_table05_narrow_vs_shallow", row))
        for label, model, width, row in (
            ("thin", "mobilenet_v1", 0.75 * base, "0.75 MobileNet"),
            ("shallow", "mobilenet_v1_shallow", base, "Shallow MobileNet"),
        )
    )
    difference = Comparison("thin - shallow", {thin.name: 1, shallow.name: -1})
    return Design(
        "v1.table5",
        "a thin network against a shallow one of like cost",
        "Howard et al. 2017, arXiv:1704.04861, table 5",
        resolution,
        base,
        (thin, shallow),
        (Claim("making a network thinner is better than making it shallower", (difference,)),),
    )


def _fig4(full: bool, resolution: int, width: float | None) -> Design:
    base = width or 1.0
    alphas = (1.0, 0.75, 0.5, 0.25) if full else (1.0, 0.5, 0.25)
    originals = (224, 192, 160, 128) if full else (224, 168, 112)
    sides = [scaled_resolution(resolution, original / 224) for original in originals]

    def name(alpha: float, side: int) -> str:
        return f"{alpha:g}x{side}"

    cells = tuple(
        Cell(name(a, side), "mobilenet_v1", a * base, side, f"α {a:g}, {side} px", f"α {a:g}", _top1(a, original))
        for a in alphas
        for side, original in zip(sides, originals)
    )
    by_alpha = [
        Comparison(f"α {more:g} - {less:g}, {side} px", {name(more, side): 1, name(less, side): -1}, mean=False)
        for more, less in pairwise(alphas)
        for side in sides
    ]
    by_side = [
        Comparison(f"{more} - {less} px, α {a:g}", {name(a, more): 1, name(a, less): -1}, mean=False)
        for more, less in pairwise(sides)
        for a in alphas
    ]
    alpha_means = [
        Comparison(
            f"α {more:g} - {less:g}, mean over inputs",
            {name(a, side): sign / len(sides) for a, sign in ((more, 1), (less, -1)) for side in sides},
        )
        for more, less in pairwise(alphas)
    ]
    side_means = [
        Comparison(
            f"{more} - {less} px, mean over α",
            {name(a, side): sign / len(alphas) for side, sign in ((more, 1), (less, -1)) for a in alphas},
        )
        for more, less in pairwise(sides)
    ]
    return Design(
        "v1.fig4",
        "accuracy against multiply-adds over width α and input",
        "Howard et al. 2017, arXiv:1704.04861, figure 4",
        resolution,
        base,
        cells,
        (
            Claim("accuracy falls as α falls", (*alpha_means, *by_alpha)),
            Claim("accuracy falls as the input gets smaller", (*side_means, *by_side)),
        ),
    )


def scaled_resolution(resolution: int, rho: float) -> int:
    """ρ times the resolution in pixels, to the nearest multiple of 4.

    >>> [scaled_resolution(224, side / 224) for side in (224, 192, 160, 128)]
    [224, 192, 160, 128]
    >>> [scaled_resolution(32, side / 224) for side in (224, 192, 160, 128)]
    [32, 28, 24, 20]
    """
    return resolution if rho == 1 else round(resolution * rho / _PIXELS) * _PIXELS


def _top1(alpha: float, resolution: int) -> float | None:
    """What tables 6 (α at 224 pixels) and 7 (resolutions at α 1) print of that network; figure 4 prints no numbers."""
    if resolution == 224:
        return _published("v1_table06_width_multiplier", f"{alpha} MobileNet-224")
    return _published("v1_table07_resolution", f"{alpha} MobileNet-{resolution}")


def _published(table: str, model: str) -> float | None:
    """The top-1 on ImageNet that a table prints, as a fraction; None where it has no such row."""
    return next((round(float(row["imagenet_top1"]) / 100, 4) for row in lines_of(table) if row["model"] == model), None)


DESIGNS: dict[str, Callable[[bool, int, float | None], Design]] = {
    "v1.table4": _table4,
    "v1.table5": _table5,
    "v1.fig4": _fig4,
}
