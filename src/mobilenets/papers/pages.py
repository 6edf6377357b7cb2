"""Libraries' own figures: timm's results and benchmark, torchvision's and Keras' documentation."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from .counting import (
    BILLION,
    DENSE,
    MACS,
    MILLION,
    PARAMS,
    TOP1,
    TOP5,
    Network,
    activations_of_timm,
    as_printed,
    costs,
    macs_of_timm,
    network,
    params_with_statistics,
)
from .entry import PERCENT, Column, Entry, Figure, Note, Row, counted
from .lines import Line, lines_of

MACS_G = Column("macs", "multiply-adds, G", BILLION)

# timm ----------------------------------------------------------------------------------------------------------------

TIMM = "huggingface/pytorch-image-models, results/results-imagenet.csv and its inference benchmarks"
TIMM_SETTINGS: dict[str, dict[str, Any]] = {
    "mobilenetv2_110d": {"width": 1.1, "layer_multiplier": 1.2, "fixed_stem_and_head": True},
    "mobilenetv2_120d": {"width": 1.2, "layer_multiplier": 1.4, "fixed_stem_and_head": True},
    "mobilenetv3_small_050": {"width": 0.5, "fixed_stem": True},
}
TIMM_OTHERS = {
    "_aa_": "timm's own variant with anti-aliased downsampling",
    "_blur_": "timm's own variant with anti-aliased downsampling",
    "edgetpu": "another network",
    "mobilenetv1_100h": "timm's own variant with a 1x1 convolution before pooling",
    "mobilenetv3_large_150d": "timm's own variant with lengthened stages",
    "mobilenetv3_rw": "timm's own variant: squeeze not rounded to 8, hidden layer without bias",
}


def of_timm(model: str, side: int) -> tuple[Network | None, str]:
    """The network of ours behind timm's name at an input, or why there is none.

    >>> of_timm("mobilenetv3_small_075.lamb_in1k", 224)[0]
    Network(name='mobilenet_v3_small', settings=(('width', 0.75),), size=(224, 224), through='')
    """
    name = model.split(".")[0]
    for part, why in TIMM_OTHERS.items():
        if part in name:
            return None, why
    match = re.fullmatch(r"(?:tf_)?mobilenetv(\d)(_[a-z_]+?)?(?:_(\d{3}))?d?", name)
    assert match, name
    settings = TIMM_SETTINGS.get(name, {"width": int(match[3] or 100) / 100})
    return network(f"mobilenet_v{match[1]}{match[2] or ''}", side, **settings), ""


def timm_row(line: Line, side: str, gmacs: str) -> Row:
    """A row of timm's: its multiply-adds in billions and parameters in millions, as fvcore counts."""
    ours, why = of_timm(line["model"], int(side))
    figures = as_printed(line, {"top1": "top1", "top5": "top5"})
    figures |= costs(line | {"gmacs": gmacs}, ours, {"macs": "gmacs", "params": "params_m"}, {"macs": macs_of_timm})
    return Row(name=f"{line['model']} {side}", figures=figures, stands=why, source=line["source"])


def _timm() -> tuple[Row, ...]:
    rows = []
    for line in lines_of("timm_mobilenets"):
        row = timm_row(line, line["img_size"], line["gmacs"])
        ours, _ = of_timm(line["model"], int(line["img_size"]))
        made = Figure(line["mactivations"], activations_of_timm(ours.cost()) if ours else None)
        rows.append(
            Row(name=row.name, figures={**row.figures, "activations": made}, stands=row.stands, source=row.source)
        )
    return tuple(rows)


def _timm_v4() -> tuple[Row, ...]:
    """timm's rows in the V4 file: the same results, with multiply-adds of the same benchmarks."""
    found = [line for line in lines_of("v4") if line["table"] == "timm results"]
    return tuple(timm_row(line, line["resolution"], f"{float(line['madds_m']) / 1000:.2f}") for line in found)


FVCORE = counted(
    "fvcore's count: two operations for each batch-normalised value, and attention's products; the computed figure too",
    columns=("macs",),
)

# torchvision and Keras -----------------------------------------------------------------------------------------------

TORCHVISION = "torchvision 0.29.2, the weights' metadata"
KERAS = "keras-team/keras-io, applications; keras 3.15.1, docstring of mobilenet_v3.py"


def _torchvision() -> tuple[Row, ...]:
    rows = []
    for line in lines_of("torchvision"):
        classifier = line["task"] == "classification"
        ours = network(line["weights"].split()[0].lower(), 224) if classifier else None
        figures = {"top1" if classifier else "metric": Figure(line["top1_or_metric"])}
        figures |= as_printed(line, {"top5": "top5"})
        figures |= costs(line, ours, {"macs": "gmacs_(ops)", "params": "params"})
        stands = "" if ours else DENSE
        rows.append(Row(name=line["weights"], figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _keras() -> tuple[Row, ...]:
    rows = []
    for line in lines_of("keras_applications"):
        figures = as_printed(line, {"top1": "top1", "top5": "top5"})
        if line["model"].startswith("MobileNet"):
            name = {"MobileNet (V1)": "mobilenet_v1", "MobileNetV2": "mobilenet_v2"}[line["model"]]
            counts = {"params": params_with_statistics}
            figures |= costs(line, network(name, 224), {"params": "params_m"}, counts)
        else:
            match = re.fullmatch(r"v3_(large|small)(_minimalistic)?_([\d.]+)_(\d+)", line["model"])
            assert match, line["model"]
            name = f"mobilenet_v3_{match[1]}{'_minimal' if match[2] else ''}"
            ours = network(name, int(match[4]), width=float(match[3]))
            figures |= costs(line, ours, {"macs": "macs_m", "params": "params_m"})
        rows.append(Row(name=line["model"], figures=figures, source=line["source"]))
    return tuple(rows)


ENTRIES = (
    Entry(
        id="v4.timm",
        title="timm's V4 networks: accuracy and cost",
        source=TIMM,
        columns=(TOP1, TOP5, MACS_G, PARAMS),
        read=_timm_v4,
        notes=(FVCORE,),
    ),
    Entry(
        id="timm",
        title="timm's MobileNets: accuracy and cost",
        source=TIMM,
        columns=(TOP1, TOP5, MACS_G, PARAMS, Column("activations", "activations, M", MILLION)),
        read=_timm,
        notes=(FVCORE,),
    ),
    Entry(
        id="torchvision",
        title="torchvision's MobileNets",
        source=TORCHVISION,
        columns=(
            TOP1,
            TOP5,
            Column("metric", "mAP or mIoU, %", PERCENT, stands="measured on COCO"),
            MACS_G,
            Column("params", "parameters", Decimal(1)),
        ),
        read=_torchvision,
        first="weights",
    ),
    Entry(
        id="keras",
        title="Keras' MobileNets",
        source=KERAS,
        columns=(TOP1, TOP5, MACS, PARAMS),
        read=_keras,
        notes=(
            counted("BatchNorm's running statistics are counted, here as there", ("MobileNet*",), ("params",)),
            Note(
                "of the first arXiv version, whose V3-Small had a 1280-wide head; the later table 9 is followed",
                ("v3_small_0.75*",),
                ("macs",),
            ),
            Note(
                "of the first arXiv version, whose V3-Small had a 1280-wide head; the later table 9 is followed",
                "v3_small_[01]*",
                ("params",),
            ),
            Note(
                "66 is of the first arXiv version, though its 1280-wide head makes 56.9; the later table 9 is followed",
                "v3_small_1*",
                ("macs",),
            ),
            Note(
                "printed 65; the arithmetic gives 52.3, and the parameters agree: the arithmetic is followed",
                "v3_small_minimalistic_*",
                ("macs",),
            ),
        ),
    ),
)
