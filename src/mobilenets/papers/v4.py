"""MobileNet V4 (Qin et al. 2024, arXiv:2404.10518): the tables of its experiments."""

from __future__ import annotations

import re
from decimal import Decimal

from .counting import (
    BACKBONE,
    BILLION,
    DENSE,
    MACS,
    MILLION,
    OTHER,
    PARAMS,
    TOP1,
    Network,
    as_printed,
    costs,
    macs_with_attention,
    network,
    params_without_batch_norm,
)
from .entry import PERCENT, Column, Entry, Figure, Note, Row, counted
from .lines import Line, lines_of

PAPER = "Qin et al. 2024, arXiv:2404.10518"
KEYS = {"macs": "madds_m", "params": "params_m"}
PHONE = "a latency on a phone"
POWERS = (
    "the paper's figures are up to 8 % below those of timm's networks, which are the same as ours; they fit units of "
    "2^30 multiply-adds, attention's products included, and of 2^20 parameters, BatchNorm's scale and shift left out, "
    "in which the computed ones are shown"
)
MACS_30 = Column("macs", "multiply-adds, G", BILLION, fits=Decimal(2**30))
PARAMS_20 = Column("params", "parameters, M", MILLION, fits=Decimal(2**20))
DEVICES = (
    ("pixel6_cpu_ms", "Pixel 6 CPU, ms"),
    ("pixel8_edgetpu_ms", "Pixel 8 EdgeTPU, ms"),
    ("iphone13_ms", "iPhone 13, ms"),
    ("pixel4_hexagon_ms", "Pixel 4 Hexagon, ms"),
    ("pixel7_gpu_ms", "Pixel 7 GPU, ms"),
    ("s23_cpu_ms", "S23 CPU, ms"),
    ("s23_gpu_ms", "S23 GPU, ms"),
)
ABLATED = (
    ("pixel7_edgetpu_ms", "Pixel 7 EdgeTPU, ms"),
    ("pixel8_edgetpu_ms", "Pixel 8 EdgeTPU, ms"),
    ("s23_gpu_ms", "S23 GPU, ms"),
)
NAMES = {
    "MNv4-Conv-S": "mobilenet_v4_conv_small",
    "MNv4-Conv-M": "mobilenet_v4_conv_medium",
    "MNv4-Conv-L": "mobilenet_v4_conv_large",
    "MNv4-Hybrid-M": "mobilenet_v4_hybrid_medium",
    "MNv4-Hybrid-L": "mobilenet_v4_hybrid_large",
    "Conv-L base": "mobilenet_v4_conv_large",
}


def lines(table: str) -> list[Line]:
    """The lines of the CSV file that belong to one table, multiply-adds in billions as the paper prints them."""
    found = [line for line in lines_of("v4") if line["table"] == table]
    return [line | {"madds_m": f"{float(line['madds_m']) / 1000:.1f}" if line["madds_m"] else ""} for line in found]


# The tables ----------------------------------------------------------------------------------------------------------

COUNTS = {"macs": macs_with_attention, "params": params_without_batch_norm}


def _times(line: Line, devices: tuple[tuple[str, str], ...]) -> dict[str, Figure]:
    return {key: Figure(time) for (key, _), time in zip(devices, line["latency_ms"].split("|")) if time}


def _main() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper classification table"):
        ours = network(NAMES[line["model"]], int(line["resolution"]))
        figures = as_printed(line, {"top1": "top1"}) | costs(line, ours, KEYS, COUNTS) | _times(line, DEVICES)
        rows.append(Row(name=f"{line['model']} {line['resolution']}", figures=figures, source=line["source"]))
    return tuple(rows)


def _ablation() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper MQA ablation"):
        ours = network(NAMES[line["model"]], 384) if line["model"] in NAMES else None
        figures = as_printed(line, {"top1": "top1"}) | costs(line, ours, KEYS, COUNTS) | _times(line, ABLATED)
        stands = "" if ours else "Conv-L with three attention blocks, whose places are not printed"
        rows.append(Row(name=line["model"], figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _distillation() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper distillation table"):
        said = re.match(r"IN-1K only (\d+\.\d); prior distillation (\d+\.\d)? ?; proposed (\d+\.\d)", line["note"])
        assert said, line["note"]
        figures = {key: Figure(text) for key, text in zip(("plain", "prior", "top1"), said.groups()) if text}
        rows.append(Row(name=line["model"], figures=figures, source=line["source"]))
    return tuple(rows)


def _baselines() -> tuple[Row, ...]:
    return tuple(
        Row(name=line["model"], figures=as_printed(line, {"top1": "top1"}), source=line["source"])
        for line in lines("paper retrained baselines")
    )


def _coco() -> tuple[Row, ...]:
    """RetinaNet at 384; the backbone runs up to c5."""
    rows = []
    for line in lines_of("v4"):
        if line["table"] != "paper COCO RetinaNet":
            continue
        ours, stands = _backbone(line["model"], int(line["resolution"]))
        figures = as_printed(line, {"map": "map", "pixel6_cpu_ms": "latency_ms"}) | costs(line, ours, KEYS)
        rows.append(Row(name=line["model"], figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _backbone(model: str, side: int) -> tuple[Network | None, str]:
    if model in NAMES:
        return Network(NAMES[model], size=(side, side), through="c5"), DENSE
    old = re.fullmatch(r"MobileNet(V1|V2|V3-L) ([\d.]+)x", model)
    if not old:
        return None, OTHER
    name = {"V1": "mobilenet_v1", "V2": "mobilenet_v2", "V3-L": "mobilenet_v3_large"}[old[1]]
    return Network(name, (("width", float(old[2])),), (side, side), "c5"), DENSE


# The entries ---------------------------------------------------------------------------------------------------------

JFT = "an accuracy on ImageNet after distillation"

ENTRIES = (
    Entry(
        id="v4.main",
        title="Classification on ImageNet-1K: the paper's main table",
        source=f"{PAPER}, classification table, from a page that reprints it",
        columns=(TOP1, MACS_30, PARAMS_20, *(Column(key, title, stands=PHONE) for key, title in DEVICES)),
        read=_main,
        notes=(
            counted(POWERS, columns=("macs", "params")),
            Note(
                "3.8 is the count in powers of ten, BatchNorm's scale and shift included: 3.774",
                "MNv4-Conv-S *",
                ("params",),
            ),
            Note(
                "30.94 x 2^20 without BatchNorm, 31.08 with; the paper's ablation prints 30.9 for the same network",
                "MNv4-Conv-L *",
                ("params",),
            ),
        ),
    ),
    Entry(
        id="v4.distillation",
        title="Distillation",
        source=f"{PAPER}, distillation table, from a page that reprints it",
        columns=(
            Column("plain", "top-1 on ImageNet-1K only, %", PERCENT, stands=JFT),
            Column("prior", "prior distillation, %", PERCENT, stands=JFT),
            Column("top1", "proposed, %", PERCENT, stands=JFT),
        ),
        read=_distillation,
    ),
    Entry(
        id="v4.baselines",
        title="Earlier generations with a modern recipe",
        source=f"{PAPER}, from a page that reprints its tables",
        columns=(TOP1,),
        read=_baselines,
    ),
    Entry(
        id="v4.coco",
        title="COCO detection with RetinaNet, 384 px",
        source=f"{PAPER}, COCO table, from a page that reprints it",
        columns=(
            Column("map", "mAP, %", PERCENT, stands="measured on COCO"),
            Column("pixel6_cpu_ms", "Pixel 6 CPU, ms", stands=PHONE),
            MACS,
            PARAMS,
            *BACKBONE,
        ),
        read=_coco,
    ),
    Entry(
        id="v4.mqa",
        title="Attention: multi-head against mobile multi-query",
        source=f"{PAPER}, ablation of Mobile MQA, from a page that reprints it",
        columns=(TOP1, MACS_30, PARAMS_20, *(Column(key, title, stands=PHONE) for key, title in ABLATED)),
        read=_ablation,
        notes=(
            counted(POWERS, "Conv-L base", ("macs", "params")),
            Note(
                "printed 6.0, and 5.9 in the main table for the same network: that is followed",
                "Conv-L base",
                ("macs",),
            ),
        ),
    ),
)
