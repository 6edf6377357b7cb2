"""MobileNet V1 (Howard et al. 2017, arXiv:1704.04861): tables 1 to 9, which are about the classifier."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..arch.cost import Cost, separable_conv_macs, standard_conv_macs
from .counting import MACS, OTHER, PARAMS, TOP1, Network, as_printed, costs, network
from .entry import PERCENT, Column, Entry, Figure, Note, Row, counted
from .lines import Line, lines_of

PAPER = "Howard et al. 2017, arXiv:1704.04861"
KEYS = {"macs": "million_mult_adds", "params": "million_params"}
COLUMNS = (TOP1, MACS, PARAMS)


def meant(model: str, *, classes: int = 1000) -> Network | None:
    """The network that a row's name means (`0.75 MobileNet-192`, `Conv MobileNet`); None for another family's.

    >>> meant("0.75 MobileNet-192")
    Network(name='mobilenet_v1', settings=(('classes', 1000), ('width', 0.75)), size=(192, 192), through='')
    """
    match = re.fullmatch(r"(?:([\d.]+|Conv|Shallow) )?MobileNet(?:-(\d+))?(?: \(row \d\))?", model)
    if not match:
        return None
    kind, side = match[1] or "1.0", int(match[2] or 224)
    variant = {"Conv": "mobilenet_v1_full_conv", "Shallow": "mobilenet_v1_shallow"}.get(kind)
    if variant:
        return network(variant, side, classes=classes)
    return network("mobilenet_v1", side, classes=classes, width=float(kind))


def rows_of(
    table: str,
    *,
    classes: int = 1000,
    printed: dict[str, str],
    name: Callable[[Line], str] = lambda line: line["model"],
) -> tuple[Row, ...]:
    """The rows of a table that names networks; `printed` are the columns that stand as published."""
    rows = []
    for line in lines_of(table):
        ours = meant(line["model"], classes=classes)
        figures = as_printed(line, printed) | costs(line, ours, KEYS)
        rows.append(Row(name=name(line), figures=figures, stands="" if ours else OTHER, source=line["source"]))
    return tuple(rows)


# Table 1 -------------------------------------------------------------------------------------------------------------

LAYER_COLUMNS = (
    Column("type_stride", "type / stride"),
    Column("filter_shape", "filter shape"),
    Column("input_size", "input size"),
    Column("macs", "multiply-adds"),
    Column("params", "parameters"),
)


def _table_1() -> tuple[Row, ...]:
    """Every printed layer beside the layer of our graph; a row `5x` stands for the first of five equal ones."""
    layers = _layers(network("mobilenet_v1", 224).cost())
    rows, at = [], 0
    for number, line in enumerate(lines_of("v1_table01_architecture"), start=1):
        printed = {key: line[key] for key in ("type_stride", "filter_shape", "input_size")}
        ours: dict[str, str | int] = layers[min(at, len(layers) - 1)]
        if line["type_stride"].startswith("Softmax"):
            figures = {key: Figure(text) for key, text in printed.items()}
            stands = "our networks end with the logits"
        else:
            stands = ""
            repeats = "5x " if line["type_stride"].startswith("5x") else ""
            ours = ours | {"type_stride": f"{repeats}{ours['type_stride']}"}
            figures = {key: Figure(printed.get(key, ""), value) for key, value in ours.items()}
            if repeats and "dw" not in line["type_stride"]:
                at += 9  # the pair has been read once, four more follow
            elif not repeats or "dw" in line["type_stride"]:
                at += 1
        rows.append(Row(name=str(number), figures=figures, stands=stands, source=line["source"]))
    return tuple(rows)


def _layers(whole: Cost) -> list[dict[str, str | int]]:
    """The layers of V1 in the words of table 1, in the order they run."""
    shapes = {"input": whole.input} | {op.name: op.shape for op in whole.ops}
    found: list[dict[str, str | int]] = []
    for op in whole.ops:
        channels, height, width = shapes[op.inputs[0]]
        words = {"depthwise": "Conv dw", "pool": "Avg Pool", "linear": "FC"}.get(op.kind, "Conv")
        shape = {
            "depthwise": f"{op.kernel}x{op.kernel}x{channels} dw",
            "pool": f"Pool {height}x{width}",
            "linear": f"{channels}x{op.shape[0]}",
        }.get(op.kind, f"{op.kernel}x{op.kernel}x{channels}x{op.shape[0]}")
        found.append(
            {
                "type_stride": f"{words} / s{op.stride}",
                "filter_shape": shape,
                "input_size": f"{height}x{width}x{channels}",
                "macs": op.macs,
                "params": op.params,
            }
        )
    return found


# Tables 2 and 3 ------------------------------------------------------------------------------------------------------

SHARE_COLUMNS = (
    Column("macs_share", "multiply-adds, %", PERCENT),
    Column("params_share", "parameters, %", PERCENT),
)
KINDS = {"Conv 1x1": "pointwise", "Conv DW 3x3": "depthwise", "Conv 3x3": "conv", "Fully Connected": "linear"}


def _table_2() -> tuple[Row, ...]:
    """Shares of the multiply-adds and of the weights (biases and BatchNorm left out) by kind of layer."""
    whole = network("mobilenet_v1", 224).cost()
    weights = sum(op.weights for op in whole.ops)
    rows = []
    for line in lines_of("v1_table02_resource_per_layer_type"):
        ops = [op for op in whole.ops if op.kind == KINDS[line["type"]]]
        figures = {
            "macs_share": Figure(line["mult_adds_pct"], sum(op.macs for op in ops) / whole.macs),
            "params_share": Figure(line["params_pct"], sum(op.weights for op in ops) / weights),
        }
        rows.append(Row(name=line["type"], figures=figures, source=line["source"]))
    return tuple(rows)


def _table_3() -> tuple[Row, ...]:
    """D_K = 3, M = N = 512, D_F = 14; each row adds one reduction to the row above it."""
    thin = round(0.75 * 512)
    computed: dict[str, tuple[float, int]] = {
        "Convolution": (standard_conv_macs(3, 512, 512, 14), 9 * 512 * 512),
        "Depthwise Separable Conv": (separable_conv_macs(3, 512, 512, 14), 9 * 512 + 512 * 512),
        "alpha=0.75": (separable_conv_macs(3, 512, 512, 14, alpha=0.75), 9 * thin + thin * thin),
        "rho=0.714": (separable_conv_macs(3, 512, 512, 14, alpha=0.75, rho=0.714), 9 * thin + thin * thin),
    }
    rows = []
    for line in lines_of("v1_table03_single_layer"):
        macs, params = computed[line["layer_modification"]]
        figures = {
            "macs": Figure(line["million_mult_adds"], round(macs)),
            "params": Figure(line["million_params"], params),
        }
        rows.append(Row(name=line["layer_modification"], figures=figures, source=line["source"]))
    return tuple(rows)


# The entries ---------------------------------------------------------------------------------------------------------


def _classifiers(number: int, stem: str, title: str, *notes: Note) -> Entry:
    return Entry(
        id=f"v1.table{number}",
        title=title,
        source=f"{PAPER}, table {number}",
        columns=COLUMNS,
        read=lambda: rows_of(f"v1_table{number:02}_{stem}", printed={"top1": "imagenet_top1"}),
        notes=notes,
    )


ENTRIES = (
    Entry(
        id="v1.table1",
        title="MobileNet body architecture",
        source=f"{PAPER}, table 1",
        columns=LAYER_COLUMNS,
        read=_table_1,
        first="row",
        notes=(
            Note(
                "printed s2; its input and output are both 7x7, and every implementation has stride 1",
                "18",
                ("type_stride",),
            ),
            counted("of one of the five", ("14", "15"), ("macs", "params")),
        ),
    ),
    Entry(
        id="v1.table2",
        title="Resource per layer type",
        source=f"{PAPER}, table 2",
        columns=SHARE_COLUMNS,
        read=_table_2,
        first="type",
        notes=(
            Note(
                "1.19 is a slip: the arithmetic gives 1.91, and the printed column sums to 99.29",
                "Conv 3x3",
                ("macs_share",),
            ),
        ),
    ),
    Entry(
        id="v1.table3",
        title="Resource usage for modifications to standard convolution (one layer, 14x14x512)",
        source=f"{PAPER}, table 3",
        columns=(MACS, PARAMS),
        read=_table_3,
        first="layer, modification",
    ),
    _classifiers(
        4,
        "depthwise_vs_full_conv",
        "Depthwise separable against full convolution MobileNet",
        Note(
            "4866 leaves the classifier's 1.024 M multiply-adds out; with it they are 4867.3 M",
            "Conv MobileNet",
            ("macs",),
        ),
    ),
    _classifiers(5, "narrow_vs_shallow", "Narrow against shallow MobileNet"),
    _classifiers(6, "width_multiplier", "MobileNet width multiplier"),
    _classifiers(7, "resolution", "MobileNet resolution"),
    _classifiers(8, "popular_models", "MobileNet comparison to popular models"),
    _classifiers(
        9,
        "small_popular_models",
        "Smaller MobileNet comparison to popular models",
        Note("printed 1.32 here and 1.3 in table 6; the arithmetic is 1.332", "0.50 MobileNet-160", ("params",)),
    ),
)
