"""MobileNet V1 (Howard et al. 2017, arXiv:1704.04861): tables 10 to 14, fine-grained, faces, places, detection."""

from __future__ import annotations

import re

from .counting import BACKBONE, BILLION, DENSE, MACS, OTHER, PARAMS, Network, as_printed, costs
from .entry import PERCENT, Column, Entry, Figure, Note, Row, counted, remark
from .lines import Line, lines_of
from .v1 import PAPER, rows_of

MACS_G = Column("macs", "multiply-adds, G", BILLION)
CELLS = "the cells of the globe that the classifier tells apart are not stated"


# Table 11: PlaNet ----------------------------------------------------------------------------------------------------

SCALES = {"im2gps": "im2gps_pct", "planet": "planet_pct", "planet_mobilenet": "planet_mobilenet_pct"}
TEXT = re.compile(r'PlaNet (\d+) M params / ([\d.]+) B .*version (\d+) M params; text prints "([\d.]+) Million')


def _table_11() -> tuple[Row, ...]:
    """The accuracy by scale, then what the text says of the two networks; V1's body is computed."""
    lines = lines_of("v1_table11_planet")
    rows = [Row(name=line["scale"], figures=as_printed(line, SCALES), source=line["source"]) for line in lines]
    said = TEXT.search(lines[0]["note"])
    assert said, lines[0]["note"]
    body = Network("mobilenet_v1", size=(224, 224), through="pool").cost()
    rows += [
        Row(
            name="PlaNet (text)",
            figures={"macs": Figure(said[2]), "params": Figure(said[1])},
            stands=OTHER,
            source=lines[0]["source"],
        ),
        Row(
            name="PlaNet MobileNet (text)",
            figures={
                "macs": Figure(said[4]),
                "params": Figure(said[3]),
                "backbone_macs": Figure("", body.macs),
                "backbone_params": Figure("", body.params),
            },
            stands=CELLS,
            source=lines[0]["source"],
        ),
    ]
    return tuple(rows)


# Table 13: COCO ------------------------------------------------------------------------------------------------------


def _table_13() -> tuple[Row, ...]:
    rows = []
    for line in lines_of("v1_table13_coco_detection"):
        ours, why = _detector(line)
        figures = as_printed(line, {"map": "coco_map"})
        figures |= costs(line, ours, {"macs": "billion_mult_adds", "params": "million_params"})
        name = f"{line['framework_resolution']} {line['backbone']}"
        rows.append(Row(name=name, figures=figures, stands=why, source=line["source"]))
    return tuple(rows)


def _detector(line: Line) -> tuple[Network | None, str]:
    """The backbone of a row, and why the row stands as published. Faster-RCNN resizes the short side alone."""
    if line["backbone"] != "MobileNet":
        return None, OTHER
    if not line["framework_resolution"].startswith("SSD"):
        return None, f"{DENSE}, and the pictures' other side is not stated"
    side = int(line["framework_resolution"].split()[1])
    return Network("mobilenet_v1", size=(side, side), through="pool"), DENSE


# The entries ---------------------------------------------------------------------------------------------------------

ENTRIES = (
    Entry(
        id="v1.table10",
        title="MobileNet for Stanford Dogs",
        source=f"{PAPER}, table 10",
        columns=(
            Column("top1", "top-1, %", PERCENT, stands="an accuracy after pre-training on web data"),
            MACS,
            PARAMS,
        ),
        read=lambda: rows_of("v1_table10_stanford_dogs", classes=120, printed={"top1": "stanford_dogs_top1"}),
        notes=(
            Note(
                "the multiply-adds with 1000 classes are printed; with the 120 breeds they are 0.9 M fewer",
                ("1.0 MobileNet-224", "1.0 MobileNet-192"),
                ("macs",),
            ),
        ),
    ),
    Entry(
        id="v1.table11",
        title="PlaNet: share of pictures placed within a distance",
        source=f"{PAPER}, table 11 and section 4.5",
        columns=(
            *(
                Column(key, f"{title}, %", PERCENT, stands="an accuracy on private data")
                for key, title in (("im2gps", "Im2GPS"), ("planet", "PlaNet"), ("planet_mobilenet", "PlaNet MobileNet"))
            ),
            MACS_G,
            PARAMS,
            *BACKBONE,
        ),
        read=_table_11,
        first="scale",
        notes=(
            remark(
                'the text prints "0.58 Million": it means billion, as V1\'s body alone shows',
                "PlaNet MobileNet (text)",
                ("macs",),
            ),
        ),
    ),
    Entry(
        id="v1.table12",
        title="Face attribute classification",
        source=f"{PAPER}, table 12",
        columns=(Column("map", "mean AP, %", PERCENT, stands="measured on private data"), MACS, PARAMS),
        read=lambda: rows_of("v1_table12_face_attributes", classes=0, printed={"map": "mean_ap"}),
        notes=(
            Note(
                "printed 45 and 15 at width 0.25, where table 6 and slim print 41 and 14; the head is not stated",
                "0.25 MobileNet-*",
                ("macs",),
            ),
            remark("7.5 in the table, 75 in the text: the table is followed", "Baseline", ("params",)),
            counted("computed without a classifier: the attributes' head is not stated", "*MobileNet*", ("params",)),
        ),
    ),
    Entry(
        id="v1.table13",
        title="COCO object detection",
        source=f"{PAPER}, table 13",
        columns=(Column("map", "mAP, %", PERCENT, stands="measured on COCO"), MACS_G, PARAMS, *BACKBONE),
        read=_table_13,
        first="framework, backbone",
    ),
    Entry(
        id="v1.table14",
        title="MobileNet distilled from FaceNet",
        source=f"{PAPER}, table 14",
        columns=(Column("accuracy", "accuracy at 1e-4, %", PERCENT, stands="measured on private data"), MACS, PARAMS),
        read=lambda: rows_of("v1_table14_facenet_distillation", classes=0, printed={"accuracy": "acc_at_1e-4"}),
        notes=(
            Note(
                "labelled 0.75-128, costs what 0.75-160 costs (166.4 M with a classifier)",
                "0.75 MobileNet-128 (row 3)",
                ("macs",),
            ),
            Note(
                "the embedding and its head are not stated; the printed figures include them",
                "0.75 MobileNet-128 (row 4)",
                ("macs",),
            ),
            Note("printed 286; V1's body alone takes 289.7, as table 7's 290 says", "1.0 MobileNet-160", ("macs",)),
            Note("the embedding and its head are not stated; the printed figures include them", "*", ("params",)),
        ),
    ),
)
