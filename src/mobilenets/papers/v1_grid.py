"""MobileNet V1's sixteen networks, α {1, 0.75, 0.5, 0.25} x input {224, 192, 160, 128}: figures 4 and 5, slim."""

from __future__ import annotations

from typing import Any

from .counting import IMAGENET, MACS, PARAMS, TOP1, TOP5, Network, as_printed, costs, network
from .entry import PERCENT, Column, Entry, Figure, Note, Row, remark
from .lines import Line, lines_of
from .v1 import PAPER, meant

ALPHAS = ("1.0", "0.75", "0.5", "0.25")
SIDES = (224, 192, 160, 128)
SLIM = "tensorflow/models, research/slim/nets/mobilenet_v1.md"
OF_THE_PAPER = ("v1_table06_width_multiplier", "v1_table07_resolution", "v1_table09_small_popular_models")


def _checkpoints() -> tuple[Row, ...]:
    rows = []
    for line in lines_of("v1_slim_checkpoints"):
        figures = as_printed(line, {"top1": "top1", "top5": "top5"}) | costs(
            line, _of(line), {"macs": "macs_m", "params": "params_m"}
        )
        name = f"{line['alpha']} {line['resolution']} {line['precision']}"
        rows.append(Row(name=name, figures=figures, source=line["source"]))
    return tuple(rows)


def _of(line: Line) -> Network:
    return network("mobilenet_v1", int(line["resolution"]), width=float(line["alpha"]))


def _grid() -> tuple[Row, ...]:
    """The sixteen points: slim's accuracy, which alone has all sixteen; costs of the paper where it prints them."""
    printed = {meant(line["model"]): line for table in OF_THE_PAPER for line in lines_of(table)}
    rows = []
    for line in lines_of("v1_slim_checkpoints"):
        if line["precision"] != "float32":
            continue
        name = f"{line['alpha']} MobileNet-{line['resolution']}"
        ours = meant(name)
        assert ours is not None
        paper = printed.get(ours)
        figures = as_printed(line, {"top1": "top1"})
        if paper:
            figures["paper_top1"] = Figure(paper["imagenet_top1"])
            figures |= costs(paper, ours, {"macs": "million_mult_adds", "params": "million_params"})
        else:
            figures |= costs(line, ours, {"macs": "macs_m", "params": "params_m"})
        sources = "; ".join(dict.fromkeys(each["source"] for each in (paper, line) if each))
        rows.append(Row(name=name, figures=figures, source=sources))
    return tuple(rows)


# Pictures ------------------------------------------------------------------------------------------------------------

COLOURS = {224: "#1f4e79", 192: "#2a9d8f", 160: "#e9a03b", 128: "#c0392b"}
MARKS = {"1.0": "o", "0.75": "s", "0.5": "^", "0.25": "D"}


def _points(entry: Entry, key: str) -> dict[tuple[str, int], tuple[float, float]]:
    """(computed cost in millions, published top-1 in percent) by α and side."""
    points = {}
    for row in entry.rows:
        alpha, _, side = row.name.partition(" MobileNet-")
        cost = row.figures[key].computed
        assert isinstance(cost, int)
        points[alpha, int(side)] = (cost / 1e6, float(row.figures["top1"].printed))
    return points


def _draw_macs(entry: Entry, figure: Any) -> None:
    """Figure 4: accuracy over multiply-adds, log scale; one line for each α, one colour for each resolution."""
    axes = _axes(entry, figure, "macs", "multiply-adds, millions (computed)")
    points = _points(entry, "macs")
    for alpha in ALPHAS:
        axes.plot(*zip(*(points[alpha, side] for side in SIDES)), color="#b8c4d0", linewidth=1, zorder=1)
    axes.set_xlim(10, 800)
    axes.set_xticks([10, 20, 50, 100, 200, 500], ["10", "20", "50", "100", "200", "500"])


def _draw_params(entry: Entry, figure: Any) -> None:
    """Figure 5: accuracy over parameters, log scale; one line for each resolution, which changes no parameter."""
    axes = _axes(entry, figure, "params", "parameters, millions (computed)")
    points = _points(entry, "params")
    for side in SIDES:
        axes.plot(*zip(*(points[alpha, side] for alpha in ALPHAS)), color=COLOURS[side], linewidth=1, zorder=1)
    axes.set_xlim(0.4, 5)
    axes.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])


def _axes(entry: Entry, figure: Any, key: str, label: str) -> Any:
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.minorticks_off()
    points = _points(entry, key)
    for (alpha, side), (x, y) in points.items():
        axes.scatter(x, y, color=COLOURS[side], marker=MARKS[alpha], s=38, zorder=2)
    for side in SIDES:
        axes.scatter([], [], color=COLOURS[side], marker="o", label=f"{side} px")
    for alpha in ALPHAS:
        axes.scatter([], [], color="#555555", marker=MARKS[alpha], label=f"α = {alpha}")
    axes.legend(frameon=False, ncols=2, loc="lower right", fontsize=9)
    axes.set_xlabel(label)
    axes.set_ylabel("ImageNet top-1, % (slim's page)")
    axes.grid(color="#e6eaee", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


# The entries ---------------------------------------------------------------------------------------------------------

PAGE_075 = "slim's multiply-adds at 0.75 are 2.6 % below the paper's, which the arithmetic meets: the paper is followed"
PAGE_34 = "slim prints 34; the arithmetic gives 30.2, and the neighbouring rows 41, 21 and 14 agree"
PAGE_150 = "slim prints 150, the paper 149; the arithmetic is 149.497"
PAGE_424 = "slim prints 4.24, the paper 4.2; the arithmetic is 4.232"
PAGE_134 = "slim prints 1.34, the paper 1.3; the arithmetic is 1.332"
PAPER_132 = "table 9 prints 1.32, table 6 1.3; the arithmetic is 1.332"
WHICH = remark(
    "slim's later checkpoints, the only source with all sixteen; the paper's own accuracies stand beside them where "
    "its tables 6, 7 and 9 print one, and there its costs are compared",
    columns=("top1",),
)
FIGURE = (TOP1, Column("paper_top1", "top-1 of the paper, %", PERCENT, stands=IMAGENET))

ENTRIES = (
    Entry(
        id="v1.fig4",
        title="Accuracy against multiply-adds, sixteen networks",
        source=f"{PAPER}, figure 4; {SLIM}",
        columns=(*FIGURE, MACS),
        read=lambda: _without(_grid(), "params"),
        notes=(
            WHICH,
            Note(PAGE_075, "0.75 MobileNet-1*", ("macs",)),
            Note(PAGE_34, "0.25 MobileNet-192", ("macs",)),
        ),
        draw=_draw_macs,
    ),
    Entry(
        id="v1.fig5",
        title="Accuracy against parameters, sixteen networks",
        source=f"{PAPER}, figure 5; {SLIM}",
        columns=(*FIGURE, PARAMS),
        read=lambda: _without(_grid(), "macs"),
        notes=(
            WHICH,
            Note(PAPER_132, "0.5 MobileNet-160", ("params",)),
            Note(PAGE_134, ("0.5 MobileNet-192", "0.5 MobileNet-128"), ("params",)),
        ),
        draw=_draw_params,
    ),
    Entry(
        id="v1.slim",
        title="Published checkpoints of V1",
        source=SLIM,
        columns=(TOP1, TOP5, MACS, PARAMS),
        read=_checkpoints,
        first="α, input, precision",
        notes=(
            Note(PAGE_424, "1.0 *", ("params",)),
            Note(PAGE_134, "0.5 *", ("params",)),
            Note(PAGE_075, "0.75 *", ("macs",)),
            Note(PAGE_150, "0.5 224 *", ("macs",)),
            Note(PAGE_34, "0.25 192 *", ("macs",)),
        ),
    ),
)


def _without(rows: tuple[Row, ...], key: str) -> tuple[Row, ...]:
    return tuple(
        Row(name=row.name, figures={k: f for k, f in row.figures.items() if k != key}, source=row.source)
        for row in rows
    )
