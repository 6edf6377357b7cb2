"""MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381): tables 2 to 4 and 5 to 7, and slim's and DeepLab's pages."""

from __future__ import annotations

import re
from decimal import Decimal

from ..arch.v2 import LAST_CHANNELS, STEM_CHANNELS, TABLE_2
from .architecture import INPUT, MADE, of_blocks, of_layer, printed, words
from .counting import (
    BACKBONE,
    DENSE,
    MACS,
    OTHER,
    PARAMS,
    TOP1,
    TOP5,
    Network,
    as_printed,
    costs,
    network,
    params_without_batch_norm,
)
from .entry import PERCENT, Column, Entry, Figure, Note, Row, counted, remark
from .lines import Line, lines_of

PAPER = "Sandler et al. 2018, arXiv:1801.04381"
SLIM = "tensorflow/models, research/slim/nets/mobilenet/README.md"
DEEPLAB = "tensorflow/models, research/deeplab/g3doc/model_zoo.md"
KEYS = {"macs": "madds_m", "params": "params_m"}
LATENCY = Column("latency_ms", "Pixel 1, ms", stands="a latency on a phone")
MAP = Column("map", "mAP, %", PERCENT, stands="measured on COCO")
MIOU = Column("miou", "mIoU, %", PERCENT, stands="measured on VOC or Cityscapes")


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


# Table 3: what must be kept at each resolution -----------------------------------------------------------------------

KILO = Decimal(1000)
MATERIALISED = ("v1", "v2", "shufflenet")
CELL = re.compile(r"(?:(\d+)/)?(O\(1\)|\d+)K?")


def _table_3() -> tuple[Row, ...]:
    """Channels and 16-bit kilobytes of the widest tensor at each side, as printed and of our graphs.

    The printed channels are, at each side, the widest input or output of the layers (V1) or bottlenecks (V2, whose
    expanded tensors are computed piece by piece) that start at that side; what follows the last one is left out.
    """
    ours = {"v1": _widest("mobilenet_v1"), "v2": _widest("mobilenet_v2")}
    rows = []
    for line in lines("paper T3"):
        place = line["resolution"]
        figures: dict[str, Figure] = {}
        for name, cell in zip(MATERIALISED, line["note"].split(" | ")):
            found = CELL.fullmatch(cell.removeprefix("V1").removeprefix("V2").removeprefix("ShuffleNet").strip())
            channels, memory = (found[1] or "", found[2]) if found else ("", "")
            sides = ours.get(name, {})
            if place == "max":  # the first layers, printed as O(1), are left out
                widest = max((side * side * c * 2 for side, c in sides.items() if side < 112), default=None)
                figures[f"{name}_bytes"] = Figure(memory, widest)
                continue
            side = int(place.split("x")[0])
            if channels:
                figures[f"{name}_channels"] = Figure(channels, sides.get(side))
            if memory:
                figures[f"{name}_bytes"] = Figure(memory, side * side * sides[side] * 2 if sides else None)
        rows.append(Row(name=place, figures=figures, stands=OTHER, source=line["source"]))
    peaks = {name: network(f"mobilenet_{name}", 224).cost().activation_bytes // 2 for name in ("v1", "v2")}
    rows.append(Row(name="peak by liveness", figures={f"{n}_bytes": Figure("", peak) for n, peak in peaks.items()}))
    return tuple(rows)


def _widest(name: str) -> dict[int, int]:
    """Side -> channels of the widest input or output of what starts there, without the stem and the last 1x1."""
    whole = network(name, 224).cost()
    shapes = {op.name: op.shape for op in whole.ops}
    last = max(op.block for op in whole.ops) - (name == "mobilenet_v2")  # V2's last block is the 1x1 to 1280
    if name == "mobilenet_v2":
        spans = [[op for op in whole.ops if op.block == block] for block in range(1, last + 1)]
    else:
        spans = [[op] for op in whole.ops if 1 <= op.block <= last]
    widest: dict[int, int] = {}
    for ops in spans:
        c_in, side, _ = shapes[ops[0].inputs[0]]
        widest[side] = max(widest.get(side, 0), c_in, ops[-1].shape[0])
    return widest | {1: shapes["head.pool"][0]}


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


# Tables 5 to 7: detection and segmentation ---------------------------------------------------------------------------


def _detection(table: str) -> tuple[Row, ...]:
    rows = []
    for line in lines(table):
        known = "V1" in line["model"] or ("V2" in line["model"] and "YOLO" not in line["model"])
        ours = None
        if known and line["resolution"]:
            side = int(line["resolution"])
            name = "mobilenet_v1" if "V1" in line["model"] else "mobilenet_v2"
            ours = Network(name, size=(side, side), through="pool")
        figures = as_printed(line, {"map": "map", "latency_ms": "latency_ms"}) | costs(line, ours, KEYS)
        stands = DENSE if known else OTHER
        rows.append(Row(name=line["model"], figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _segmentation(table: str) -> tuple[Row, ...]:
    rows = []
    for line in lines(table):
        how = dict(part.split("=") for part in line["note"].split())
        name = f"{line['model']}, output stride {how['OS']}, {'ASPP' if how['ASPP'] == 'yes' else 'no ASPP'}"
        scales = how["multi-scale+flip"] == "yes"
        stands = OTHER
        ours = None
        if "MNet" in line["model"]:
            stands = f"{DENSE}, and scales and flips are added up" if scales else DENSE
            if not scales:
                side, settings = int(line["resolution"]), (("output_stride", int(how["OS"])),)
                v1 = "V1" in line["model"]
                ours = Network("mobilenet_v1" if v1 else "mobilenet_v2", settings, (side, side), "pool" if v1 else "c5")
        figures = as_printed(line, {"miou": "miou"}) | costs(line, ours, KEYS)
        rows.append(Row(name=f"{name}, scales" * scales or name, figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _deeplab() -> tuple[Row, ...]:
    return tuple(
        Row(
            name=f"{line['dataset']}: {line['model']}",
            figures=as_printed(line, {"miou": "miou"}) | costs(line, None, {"macs": "madds_m"}),
            stands=DENSE,
            source=line["source"],
        )
        for line in lines("DeepLab zoo")
    )


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
        id="v2.table3",
        title="Widest tensor to be kept at each resolution: channels, and kilobytes at 16 bits",
        source=f"{PAPER}, table 3",
        columns=tuple(
            column
            for key, title in (("v1", "V1"), ("v2", "V2"), ("shufflenet", "ShuffleNet 2x, g=3"))
            for column in (
                Column(f"{key}_channels", f"{title}: channels"),
                Column(f"{key}_bytes", f"{title}: kB", KILO),
            )
        ),
        read=_table_3,
        first="size",
        notes=(
            Note(
                "O(1): the paper computes the first layers piece by piece (section 5); computed is the whole tensor",
                "112x112",
                ("v2_channels", "v2_bytes"),
            ),
            Note("printed in round hundreds", ("56x56", "28x28", "14x14", "max"), ("v1_bytes", "v2_bytes")),
            Note("printed 199; 7 x 7 x 1024 values of two bytes are 100 kB", "7x7", ("v1_bytes",)),
            Note("printed 32; 7 x 7 x 320 values of two bytes are 31.4 kB", "7x7", ("v2_bytes",)),
            counted(
                "the widest input or output of the layers (V1) or bottlenecks (V2) that start at this side",
                "*x*",
                ("v1_channels", "v2_channels"),
            ),
            counted(
                "ours, every tensor that is alive at once, V2's expanded ones included, here at 16 bits",
                "peak by liveness",
            ),
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
        id="v2.table5",
        title="SSD and SSDLite on MobileNetV2, 80 classes",
        source=f"{PAPER}, table 5",
        columns=(MACS, PARAMS),
        read=lambda: _detection("paper T5"),
    ),
    Entry(
        id="v2.table6",
        title="COCO object detection",
        source=f"{PAPER}, table 6",
        columns=(MAP, LATENCY, MACS, PARAMS, *BACKBONE),
        read=lambda: _detection("paper T6"),
    ),
    Entry(
        id="v2.table7",
        title="Semantic segmentation with DeepLabv3, PASCAL VOC 2012",
        source=f"{PAPER}, table 7",
        columns=(MIOU, MACS, PARAMS, *BACKBONE),
        read=lambda: _segmentation("paper T7"),
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
    Entry(
        id="v2.deeplab",
        title="DeepLab's model zoo: MobileNetV2",
        source=DEEPLAB,
        columns=(MIOU, MACS),
        read=_deeplab,
    ),
)
