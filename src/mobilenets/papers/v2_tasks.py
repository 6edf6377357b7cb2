"""MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381): tables 5 to 7, detection and segmentation; DeepLab's page."""

from __future__ import annotations

from .counting import (
    BACKBONE,
    DENSE,
    MACS,
    OTHER,
    PARAMS,
    Network,
    as_printed,
    costs,
)
from .entry import PERCENT, Column, Entry, Row
from .v2 import KEYS, LATENCY, PAPER, lines

DEEPLAB = "tensorflow/models, research/deeplab/g3doc/model_zoo.md"
MAP = Column("map", "mAP, %", PERCENT, stands="measured on COCO")
MIOU = Column("miou", "mIoU, %", PERCENT, stands="measured on VOC or Cityscapes")


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
        id="v2.deeplab",
        title="DeepLab's model zoo: MobileNetV2",
        source=DEEPLAB,
        columns=(MIOU, MACS),
        read=_deeplab,
    ),
)
