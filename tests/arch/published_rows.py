"""The published figures as rows that can be compared: which network a printed row means, and how its source counts."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.arch.cost import Cost

Line = dict[str, str]
FOLDER = Path(str(files("mobilenets.papers"))) / "published"
PRODUCTS = ("conv", "depthwise", "pointwise", "linear", "attention")


class Printed(NamedTuple):
    """One printed figure, and what we count in its place."""

    quantity: str
    figure: str
    unit: int
    count: Callable[[Cost], int]

    def agrees(self, whole: Cost) -> bool:
        """Whether our figure, rounded or cut off after the printed decimals, is the printed one."""
        printed = Decimal(self.figure)
        step = Decimal(1).scaleb(int(printed.as_tuple().exponent))
        ours = Decimal(self.count(whole)) / self.unit
        return any(ours.quantize(step, rounding) == printed for rounding in (ROUND_HALF_UP, ROUND_DOWN))


class Row(NamedTuple):
    """A row of a published table: `network` and `settings` for `create_spec`, or why there is no network of ours."""

    place: str
    network: str = ""
    settings: dict[str, Any] = {}  # noqa: RUF012
    resolution: int = 224
    printed: tuple[Printed, ...] = ()
    other: str = ""


# How the sources count ---------------------------------------------------------------------------------------------


def macs(whole: Cost) -> int:
    return whole.macs


def macs_with_attention(whole: Cost) -> int:
    return whole.macs + whole.macs_attention


def params(whole: Cost) -> int:
    return whole.params


def params_without_batch_norm(whole: Cost) -> int:
    """BatchNorm's scale and shift left out, as many as its statistics: what slim's V2 page counts."""
    return whole.params - whole.buffers


def params_with_statistics(whole: Cost) -> int:
    """Keras' `count_params`: BatchNorm's running mean and variance included."""
    return whole.params + whole.buffers


def macs_of_timm(whole: Cost) -> int:
    """fvcore's count in timm's benchmark: attention's products, and two operations per batch-normalised value."""
    return whole.macs + whole.macs_attention + 2 * sum(_size(op.shape) for op in whole.ops if op.buffers)


def activations_of_timm(whole: Cost) -> int:
    """fvcore's count: values that convolutions, linear layers and matrix products put out."""
    return sum(_size(op.shape) for op in whole.ops if op.kind in PRODUCTS)


def _size(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


def _millions(
    line: Line, macs_key: str, params_key: str, count_params: Callable[[Cost], int] = params
) -> tuple[Printed, ...]:
    found = []
    if line.get(macs_key):
        found.append(Printed("macs", line[macs_key].removesuffix(".0"), 10**6, macs))
    if line.get(params_key):
        found.append(Printed("params", line[params_key], 10**6, count_params))
    return tuple(found)


# The tables ----------------------------------------------------------------------------------------------------------

ACCURACY = "states no cost"
DENSE = "a detector or segmenter, which is more than the classifier"
OTHER = "another family"


def all_rows() -> Iterator[Row]:
    """Every row of every table that prints the cost of a network; each names its file and line."""
    for table, read in READERS.items():
        for number, line in enumerate(lines_of(table), start=2):
            row = read(line)
            yield row._replace(place=f"{table}.csv:{number} {row.place}".rstrip())


def lines_of(table: str) -> list[Line]:
    """The lines of a published table by column."""
    with (FOLDER / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _slim_v1(line: Line) -> Row:
    alpha, side = line["alpha"], line["resolution"]
    return Row(
        f"{alpha} {side} {line['precision']}",
        "mobilenet_v1",
        {"width": float(alpha)},
        int(side),
        _millions(line, "macs_m", "params_m"),
    )


def _v1_paper(line: Line) -> Row:
    """Tables 4 to 10, 12 and 14: `0.75 MobileNet-192`, `Conv MobileNet`, `Shallow MobileNet`, or another family."""
    name = line["model"]
    match = re.fullmatch(r"(?:([\d.]+|Conv|Shallow) )?MobileNet(?:-(\d+))?(?: \(row \d\))?", name)
    if not match:
        return Row(name, other=OTHER)
    kind, side = match[1] or "1.0", int(match[2] or 224)
    network = {"Conv": "mobilenet_v1_full_conv", "Shallow": "mobilenet_v1_shallow"}.get(kind, "mobilenet_v1")
    settings: dict[str, Any] = {"width": float(kind)} if network == "mobilenet_v1" else {}
    if "stanford_dogs_top1" in line:
        settings["classes"] = 120
    elif "mean_ap" in line or "acc_at_1e-4" in line:
        settings["classes"] = 0
    return Row(name, network, settings, side, _millions(line, "million_mult_adds", "million_params"))


def _v2(line: Line) -> Row:
    place = " ".join((line["table"], line["model"], line["alpha"], line["resolution"])).strip()
    if line["task"] != "classification":
        return Row(place, other=ACCURACY if line["table"] == "paper T3" else DENSE)
    slim = line["table"] == "slim README"
    printed = _millions(line, "madds_m", "params_m", params_without_batch_norm if slim else params)
    networks = {
        "MobileNetV1": ("mobilenet_v1", 1.0),
        "MobileNetV2": ("mobilenet_v2", 1.0),
        "MobileNetV2 (1.4)": ("mobilenet_v2", 1.4),
    }
    if slim:
        network, width = "mobilenet_v2", float(line["alpha"])
    elif line["model"] in networks:
        network, width = networks[line["model"]]
    else:
        return Row(place, other=OTHER)
    return Row(place, network, {"width": width}, int(line["resolution"]), printed)


def _v3(line: Line) -> Row:
    place = " ".join((line["table"], line["model"], line["alpha"], line["resolution"], line["precision"])).strip()
    if line["task"] in ("detection SSDLite", "segmentation"):
        return Row(place, other=DENSE)
    if not (line["madds_m"] or line["params_m"]):
        return Row(place, other=ACCURACY)
    model = line["model"].lower()
    if "edgetpu" in model or "mnas" in model or "proxyless" in model:
        return Row(place, other=OTHER)
    network = "mobilenet_v2" if model == "v2" else f"mobilenet_v3_{'small' if 'small' in model else 'large'}"
    if "minimalistic" in model:
        network += "_minimal"
    return Row(
        place, network, {"width": float(line["alpha"])}, int(line["resolution"]), _millions(line, "madds_m", "params_m")
    )


V4_NAMES = {
    "MNv4-Conv-S": "mobilenet_v4_conv_small",
    "MNv4-Conv-M": "mobilenet_v4_conv_medium",
    "MNv4-Conv-L": "mobilenet_v4_conv_large",
    "MNv4-Hybrid-M": "mobilenet_v4_hybrid_medium",
    "MNv4-Hybrid-L": "mobilenet_v4_hybrid_large",
    "Conv-L base": "mobilenet_v4_conv_large",
}


def _v4(line: Line) -> Row:
    """The paper's figures fit 2^30 multiply-adds and 2^20 parameters, BatchNorm's scale and shift left out.

    In powers of ten its multiply-adds would be 8 % and its parameters 5 % too low, all but Conv-S.
    """
    place = " ".join((line["table"], line["model"], line["resolution"])).strip()
    if line["table"] == "timm results":
        return _timm_row(place, line["model"], line["resolution"], line["params_m"], _billions(line["madds_m"], 2))
    if line["task"] == "detection":
        return Row(place, other=DENSE)
    if not line["madds_m"]:
        return Row(place, other=ACCURACY)
    network = V4_NAMES.get(line["model"])
    if network is None:
        return Row(place, other="Conv-L with three attention blocks, a table that the paper does not print")
    printed = (
        Printed("macs", _billions(line["madds_m"], 1), 2**30, macs_with_attention),
        Printed("params", line["params_m"], 2**20, params_without_batch_norm),
    )
    return Row(place, network, {}, int(line["resolution"] or 384), printed)


def _billions(millions: str, decimals: int) -> str:
    return f"{float(millions) / 1000:.{decimals}f}"


def _timm(line: Line) -> Row:
    place = f"{line['model']} {line['img_size']}"
    row = _timm_row(place, line["model"], line["img_size"], line["params_m"], line["gmacs"])
    if row.other:
        return row
    return row._replace(
        printed=(*row.printed, Printed("activations", line["mactivations"], 10**6, activations_of_timm))
    )


TIMM_SETTINGS: dict[str, dict[str, Any]] = {
    "mobilenetv2_110d": {"width": 1.1, "layer_multiplier": 1.2, "fixed_stem_and_head": True},
    "mobilenetv2_120d": {"width": 1.2, "layer_multiplier": 1.4, "fixed_stem_and_head": True},
    "mobilenetv3_small_050": {"width": 0.5, "fixed_stem": True},
}
TIMM_OTHERS = {
    "_aa_": "timm's own variant with anti-aliased downsampling",
    "_blur_": "timm's own variant with anti-aliased downsampling",
    "edgetpu": OTHER,
    "mobilenetv1_100h": "timm's own variant with a 1x1 convolution before pooling",
    "mobilenetv3_large_150d": "timm's own variant with lengthened stages",
    "mobilenetv3_rw": "timm's own variant: squeeze not rounded to 8, hidden layer without bias",
}


def _timm_row(place: str, model: str, side: str, params_m: str, gmacs: str) -> Row:
    name = model.split(".")[0]
    for part, why in TIMM_OTHERS.items():
        if part in name:
            return Row(place, other=why)
    match = re.fullmatch(r"(?:tf_)?mobilenetv(\d)(_[a-z_]+?)?(?:_(\d{3}))?d?", name)
    assert match, name
    settings = TIMM_SETTINGS.get(name, {"width": int(match[3] or 100) / 100})
    printed = (Printed("macs", gmacs, 10**9, macs_of_timm), Printed("params", params_m, 10**6, params))
    return Row(place, f"mobilenet_v{match[1]}{match[2] or ''}", settings, int(side), printed)


def _torchvision(line: Line) -> Row:
    if line["task"] != "classification":
        return Row(line["weights"], other=DENSE)
    network = line["weights"].split()[0].lower()
    printed = (
        Printed("macs", line["gmacs_(ops)"], 10**9, macs),
        Printed("params", line["params"], 1, params),
    )
    return Row(line["weights"], network, {}, 224, printed)


def _keras(line: Line) -> Row:
    name = line["model"]
    if name.startswith("MobileNet"):
        network = {"MobileNet (V1)": "mobilenet_v1", "MobileNetV2": "mobilenet_v2"}[name]
        return Row(name, network, {}, 224, _millions(line, "macs_m", "params_m", params_with_statistics))
    match = re.fullmatch(r"v3_(large|small)(_minimalistic)?_([\d.]+)_(\d+)", name)
    assert match, name
    network = f"mobilenet_v3_{match[1]}{'_minimal' if match[2] else ''}"
    return Row(name, network, {"width": float(match[3])}, int(match[4]), _millions(line, "macs_m", "params_m"))


READERS: dict[str, Callable[[Line], Row]] = {
    "v1_slim_checkpoints": _slim_v1,
    "v1_table04_depthwise_vs_full_conv": _v1_paper,
    "v1_table05_narrow_vs_shallow": _v1_paper,
    "v1_table06_width_multiplier": _v1_paper,
    "v1_table07_resolution": _v1_paper,
    "v1_table08_popular_models": _v1_paper,
    "v1_table09_small_popular_models": _v1_paper,
    "v1_table10_stanford_dogs": _v1_paper,
    "v1_table12_face_attributes": _v1_paper,
    "v1_table14_facenet_distillation": _v1_paper,
    "v2": _v2,
    "v3": _v3,
    "v4": _v4,
    "timm_mobilenets": _timm,
    "torchvision": _torchvision,
    "keras_applications": _keras,
}
