"""MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381): tables 2 and 4, and slim's page."""

from __future__ import annotations

from ..arch.v2 import LAST_CHANNELS, STEM_CHANNELS, TABLE_2
from .architecture import INPUT, MADE, of_blocks, of_layer, printed, words
from .counting import (
    MACS,
    OTHER,
    PARAMS,
    TOP1,
    TOP5,
    as_printed,
    costs,
    network,
    params_without_batch_norm,
)
from .entry import Column, Entry, Note, Row, counted, remark
from .lines import Line, lines_of

PAPER = "Sandler et al. 2018, arXiv:1801.04381"
SLIM = "tensorflow/models, research/slim/nets/mobilenet/README.md"
KEYS = {"macs": "madds_m", "params": "params_m"}
LATENCY = Column("latency_ms", "Pixel 1, ms", stands="a latency on a phone")


def lines(table: str) -> list[Line]:
    """The lines of the CSV file that belong to one table."""
    return [line for line in lines_of("v2") if line["table"] == table]


# Table 2: the architecture -------------------------------------------------------------------------------------------


def _table_2() -> tuple[Row, ...]:
    whole = network("mobilenet_v2", 224).cost()
    rows = [Row(name="1 conv2d", figures=words(c=STEM_CHANNELS, n=1, s=2) | of_blocks(whole, 0, 0, "224x224x3"))]
    at = 1
    for number, row in enumerate(TABLE_2, start=2):
        cells = words(t=row.t, c=row.c, n=row.n, s=row.s)
        made = of_blocks(whole, at, at + row.n - 1, f"{row.input_size}x{row.input_size}x{row.c_in}")
        rows.append(Row(name=f"{number} bottleneck", figures=cells | made))
        at += row.n
    rows += [
        Row(name="9 conv2d 1x1", figures=words(c=LAST_CHANNELS, n=1, s=1) | of_blocks(whole, at, at, "7x7x320")),
        Row(name="10 avgpool 7x7", figures=words(n=1) | of_layer(whole, "head.pool", f"7x7x{LAST_CHANNELS}")),
        Row(name="11 conv2d 1x1", figures=words(c="k") | of_layer(whole, "head.classifier", f"1x1x{LAST_CHANNELS}")),
    ]
    return tuple(rows)


# Table 4, and the pages ----------------------------------------------------------------------------------------------

OURS = {
    "MobileNetV1": ("mobilenet_v1", 1.0),
    "MobileNetV2": ("mobilenet_v2", 1.0),
    "MobileNetV2 (1.4)": ("mobilenet_v2", 1.4),
}


def _table_4() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper T4"):
        name, width = OURS.get(line["model"], ("", 1.0))
        ours = network(name, int(line["resolution"]), width=width) if name else None
        figures = as_printed(line, {"top1": "top1", "latency_ms": "latency_ms"}) | costs(line, ours, KEYS)
        rows.append(Row(name=line["model"], figures=figures, stands="" if ours else OTHER, source=line["source"]))
    return tuple(rows)


def _slim() -> tuple[Row, ...]:
    rows = []
    for line in lines("slim README"):
        ours = network("mobilenet_v2", int(line["resolution"]), width=float(line["alpha"]))
        figures = as_printed(line, {"top1": "top1", "top5": "top5", "latency_ms": "latency_ms"})
        figures |= costs(line, ours, KEYS, {"params": params_without_batch_norm})
        rows.append(Row(name=f"{line['alpha']} {line['resolution']}", figures=figures, source=line["source"]))
    return tuple(rows)


# The entries ---------------------------------------------------------------------------------------------------------

ENTRIES = (
    Entry(
        id="v2.table2",
        title="MobileNetV2: each line a sequence of n layers",
        source=f"{PAPER}, table 2, as it stands in mobilenets/arch/v2.py",
        columns=(
            INPUT,
            printed("t", "t"),
            printed("c", "c"),
            printed("n", "n"),
            printed("s", "s"),
            *MADE,
        ),
        read=_table_2,
        first="operator",
        notes=(
            remark("the printed s = 2 takes the 28x28 input of this row to 14x14, the next row's", "5 *", ("input",)),
        ),
    ),
    Entry(
        id="v2.table4",
        title="Performance on ImageNet",
        source=f"{PAPER}, table 4",
        columns=(TOP1, LATENCY, MACS, PARAMS),
        read=_table_4,
        notes=(
            Note("printed 575; the V1 paper's 569, which the arithmetic meets, is followed", "MobileNetV1", ("macs",)),
            Note(
                "3.4 is 3.47 without BatchNorm's scale and shift, as slim's page counts, cut off",
                "MobileNetV2",
                ("params",),
            ),
            Note(
                "printed 585 M and 6.9 M; slim has 582 M and 6.06 M without BatchNorm, which the arithmetic meets: "
                "slim is followed",
                "MobileNetV2 (1.4)",
                ("macs", "params"),
            ),
        ),
    ),
    Entry(
        id="v2.slim",
        title="Published checkpoints of V2",
        source=SLIM,
        columns=(TOP1, TOP5, LATENCY, MACS, PARAMS),
        read=_slim,
        first="α, input",
        notes=(
            counted(
                "slim leaves BatchNorm's scale and shift out, and so does the computed figure", columns=("params",)
            ),
        ),
    ),
)
