"""MobileNet V3 (Howard et al. 2019, arXiv:1905.02244): tables 6 to 8, detection and segmentation."""

from __future__ import annotations

import re

from .counting import BACKBONE, DENSE, MACS, OTHER, PARAMS, Network, as_printed, costs
from .entry import PERCENT, Column, Entry, Figure, Row
from .lines import Line
from .v3 import PAPER, PHONE, lines

KEYS = {"macs": "madds_m", "params": "params_m"}
HALVED = "its last stage has half the channels, a backbone that is not here yet"
NAMES = {"V1": "mobilenet_v1", "V2": "mobilenet_v2", "V3": "mobilenet_v3_large", "V3-Small": "mobilenet_v3_small"}
TIMES = (
    Column("full_ms", "Pixel 3, ms", stands=PHONE),
    Column("half_ms", "at half resolution, ms", stands=PHONE),
)


def _table_6() -> tuple[Row, ...]:
    """SSDLite at 320; the backbone runs up to the last convolution before pooling."""
    rows = []
    for line in lines("paper T6"):
        family, _, more = line["model"].partition(" ")
        stands, ours = OTHER, None
        if family in NAMES:
            halved = more.startswith("(")
            stands = f"{DENSE}, and {HALVED}" if halved else DENSE
            if not halved:
                side = int(line["resolution"])
                settings = (("width", float(more or 1)),)
                ours = Network(NAMES[family], settings, (side, side), "pool")
        figures = as_printed(line, {"map": "map", "pixel1_ms": "latency_ms"}) | costs(line, ours, KEYS)
        rows.append(Row(name=line["model"], figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _table_7() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper T7"):
        number, halved, head, filters = (part.split(" ", 1)[-1].split("=")[-1] for part in line["note"].split("; "))
        ours = None
        if halved == "-":
            height, width = (int(side) for side in line["resolution"].split("x"))
            through = "c5" if line["model"] == "V2" else "pool"
            ours = Network(NAMES[line["model"]], (("output_stride", 16),), (height, width), through)
        stands = DENSE if ours else f"{DENSE}, and {HALVED}"
        name = f"{number} {line['model']}, {head}, {filters}" + ("" if ours else ", halved")
        figures = as_printed(line, {"miou": "miou"}) | _times(line) | costs(line, ours, KEYS)
        rows.append(Row(name=name, figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _table_8() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper T8"):
        note = re.fullmatch(r"OS=(\S+); half-resolution MAdds (\d+) M", line["note"])
        assert note, line["note"]
        stands = f"{DENSE}, and {HALVED}" if line["model"].startswith("V3") else OTHER
        figures = as_printed(line, {"miou": "miou"}) | _times(line) | costs(line, None, {"macs": "madds_m"})
        figures |= {"half_macs": Figure(note[2])}
        name = line["model"] if note[1] == "-" else f"{line['model']}, output stride {note[1]}"
        rows.append(Row(name=name, figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _times(line: Line) -> dict[str, Figure]:
    """Both latencies of a row (`2.89s full | 766ms half res`) in milliseconds."""
    found = {}
    for column, text in zip(TIMES, line["latency_ms"].split("|")):
        time = re.match(r"\s*([\d.]+)(ms|s)\b", text)
        if time:
            found[column.key] = Figure(time[1] if time[2] == "ms" else f"{float(time[1]) * 1000:.0f}")
    return found


MIOU = Column("miou", "mIoU, %", PERCENT, stands="measured on Cityscapes")

ENTRIES = (
    Entry(
        id="v3.table6",
        title="COCO object detection with SSDLite",
        source=f"{PAPER}, table 6",
        columns=(
            Column("map", "mAP, %", PERCENT, stands="measured on COCO"),
            Column("pixel1_ms", "Pixel 1, ms", stands=PHONE),
            MACS,
            PARAMS,
            *BACKBONE,
        ),
        read=_table_6,
    ),
    Entry(
        id="v3.table7",
        title="Semantic segmentation on Cityscapes, validation",
        source=f"{PAPER}, table 7",
        columns=(MIOU, *TIMES, MACS, PARAMS, *BACKBONE),
        read=_table_7,
    ),
    Entry(
        id="v3.table8",
        title="Semantic segmentation on Cityscapes, test",
        source=f"{PAPER}, table 8",
        columns=(MIOU, *TIMES, MACS, Column("half_macs", "at half resolution: multiply-adds, M", MACS.unit)),
        read=_table_8,
    ),
)
