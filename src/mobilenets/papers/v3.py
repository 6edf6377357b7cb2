"""MobileNet V3 (Howard et al. 2019, arXiv:1905.02244): tables 1 to 5 and 9, slim's page and PaddleClas'."""

from __future__ import annotations

import re

from ..arch import v3
from .architecture import INPUT, MADE, of_blocks, of_layer, printed, words
from .counting import MACS, OTHER, PARAMS, TOP1, TOP5, Network, as_printed, costs, network
from .entry import Column, Entry, Figure, Note, Row, remark
from .lines import Line, lines_of

PAPER = "Howard et al. 2019, arXiv:1905.02244"
SLIM = "tensorflow/models, research/slim/nets/mobilenet/README.md"
PADDLE = "PaddlePaddle/PaddleClas, docs/en/models/Mobile_en.md"
KEYS = {"macs": "madds_m", "params": "params_m"}
PHONE = "a latency on a phone"
PIXELS = tuple(Column(f"pixel{n}_ms", f"Pixel {n}, ms", stands=PHONE) for n in (1, 2, 3))


def lines(table: str) -> list[Line]:
    """The lines of the CSV file that belong to one table; 357.0 million multiply-adds are printed as 357."""
    found = [line for line in lines_of("v3") if line["table"] == table]
    return [line | {"madds_m": line["madds_m"].removesuffix(".0")} for line in found]


# Tables 1 and 2: the architectures -----------------------------------------------------------------------------------


def _architecture(size: str) -> tuple[Row, ...]:
    large = size == "large"
    table = v3.TABLE_1_LARGE if large else v3.TABLE_2_SMALL
    conv, hidden = (v3.LARGE_CONV, v3.LARGE_HIDDEN) if large else (v3.SMALL_CONV, v3.SMALL_HIDDEN)
    whole = network(f"mobilenet_v3_{size}", 224).cost()
    names = {v3.RE: "RE", v3.HS: "HS"}
    stem = words(out_channels=v3.STEM_CHANNELS, nl="HS", s=2) | of_blocks(whole, 0, 0, "224x224x3")
    rows = [Row(name="1 conv2d", figures=stem)]
    for number, row in enumerate(table, start=2):
        cells = words(
            exp_size=row.exp_size, out_channels=row.out, se="yes" if row.se else "-", nl=names[row.nl], s=row.s
        )
        made = of_blocks(whole, number - 1, number - 1, f"{row.input_size}x{row.input_size}x{row.c_in}")
        rows.append(Row(name=f"{number} bneck, {row.kernel}x{row.kernel}", figures=cells | made))
    after, last = len(rows) + 1, table[-1].out
    se = "-" if large else "yes"
    rows += [
        Row(
            name=f"{after} conv2d, 1x1",
            figures=words(out_channels=conv, se=se, nl="HS", s=1)
            | of_blocks(whole, after - 1, after - 1, f"7x7x{last}"),
        ),
        Row(name=f"{after + 1} pool, 7x7", figures=words(s=1) | of_layer(whole, "head.pool", f"7x7x{conv}")),
        Row(
            name=f"{after + 2} conv2d 1x1, NBN",
            figures=words(out_channels=hidden, nl="HS", s=1) | of_layer(whole, "head.hidden", f"1x1x{conv}"),
        ),
        Row(
            name=f"{after + 3} conv2d 1x1, NBN",
            figures=words(out_channels="k", s=1) | of_layer(whole, "head.classifier", f"1x1x{hidden}"),
        ),
    ]
    return tuple(rows)


def _architecture_entry(number: int, size: str, *notes: Note) -> Entry:
    columns = (
        INPUT,
        printed("exp_size", "exp size"),
        printed("out_channels", "#out"),
        printed("se", "SE"),
        printed("nl", "NL"),
        printed("s", "s"),
        *MADE,
    )
    return Entry(
        id=f"v3.table{number}",
        title=f"Specification for MobileNetV3-{size.title()}",
        source=f"{PAPER}, table {number}, as it stands in mobilenets/arch/v3.py",
        columns=columns,
        read=lambda: _architecture(size),
        first="operator",
        notes=notes,
    )


# Tables of classifiers -----------------------------------------------------------------------------------------------


def meant(line: Line) -> Network | None:
    """The network a row means; None for another family's."""
    model = line["model"].lower()
    if any(other in model for other in ("edgetpu", "mnas", "proxyless")):
        return None
    name = "mobilenet_v2" if model == "v2" else f"mobilenet_v3_{'small' if 'small' in model else 'large'}"
    if "minimalistic" in model:
        name += "_minimal"
    return network(name, int(line["resolution"]), width=float(line["alpha"]))


def _named(line: Line) -> str:
    """A row's name: the model, its width and input, and the precision where it is not float32."""
    model = re.sub(r" dm=[\d.]+$", "", line["model"]) if line["alpha"] else line["model"]
    precision = "" if line["precision"] in ("", "float32") else line["precision"]
    return " ".join(part for part in (model, line["alpha"], line["resolution"], precision) if part)


def _classifiers(table: str, latencies: str = "|") -> tuple[Row, ...]:
    rows = []
    for line in lines(table):
        ours = meant(line)
        figures = as_printed(line, {"top1": "top1", "top5": "top5"})
        times = re.match(r"[\d.|]*", line["latency_ms"].split(" ")[0])
        if times and "EdgeTPU" not in line["latency_ms"]:
            figures |= {f"pixel{n}_ms": Figure(t) for n, t in enumerate(times[0].split(latencies), start=1) if t}
        figures |= costs(line, ours, KEYS)
        rows.append(Row(name=_named(line), figures=figures, stands="" if ours else OTHER, source=line["source"]))
    return tuple(rows)


def _table_4() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper T4"):
        figures = as_printed(line, {"top1": "top1"})
        figures |= {f"pixel{n}_ms": Figure(t) for n, t in enumerate(line["latency_ms"].split("|"), start=1)}
        rows.append(Row(name=line["model"], figures=figures, source=line["source"]))
    return tuple(rows)


def _table_5() -> tuple[Row, ...]:
    rows = []
    for line in lines("paper T5"):
        plain = re.fullmatch(r"without optimised h-swish: ([\d.]+) ms", line["note"])
        assert plain, line["note"]
        figures = as_printed(line, {"top1": "top1", "pixel1_ms": "latency_ms"}) | {"plain_ms": Figure(plain[1])}
        rows.append(Row(name=line["model"], figures=figures, source=line["source"]))
    return tuple(rows)


# The entries ---------------------------------------------------------------------------------------------------------

HEAD_1280 = (
    "of the first arXiv versions, whose V3-Small had a 1280-wide head; the later table 9 prints 57 M and 2.5 M, which "
    "the arithmetic meets: it is followed"
)
PRINTED_66 = (
    "66 is of the first arXiv versions, though their 1280-wide head makes 56.9; the later table 9 prints 57, which the "
    "arithmetic meets: it is followed"
)
PADDLES = (
    "PaddleClas prints FLOPs, halved here, of more operations than convolutions; it has the 1280-wide head of the "
    "first arXiv version in V3-Small, and scales the printed expanded sizes"
)

ENTRIES = (
    _architecture_entry(1, "large"),
    _architecture_entry(
        2,
        "small",
        remark(
            "printed with squeeze-and-excite; the authors' code and every weight file have none there",
            "13 *",
            ("se",),
        ),
    ),
    Entry(
        id="v3.table3",
        title="Floating point performance on Pixel phones",
        source=f"{PAPER}, table 3",
        columns=(TOP1, *PIXELS, MACS, PARAMS),
        read=lambda: _classifiers("paper T3"),
        notes=(
            Note(
                "219 here, 217 in table 9 and on slim's page, which the arithmetic meets: those are followed",
                "V3-Large 1 224",
                ("macs",),
            ),
            Note(
                "3.4 is 3.47 without BatchNorm's scale and shift, as slim's page counts, cut off",
                "V2 1 224",
                ("params",),
            ),
            Note(PRINTED_66, "V3-Small 1 *", ("macs",)),
            Note(HEAD_1280, "V3-Small 0.75 *", ("macs",)),
            Note(HEAD_1280, "V3-Small *", ("params",)),
        ),
    ),
    Entry(
        id="v3.table4",
        title="Quantized performance",
        source=f"{PAPER}, table 4",
        columns=(TOP1, *PIXELS),
        read=_table_4,
    ),
    Entry(
        id="v3.table5",
        title="Where hard-swish stands: MobileNetV3-Large",
        source=f"{PAPER}, table 5",
        columns=(
            TOP1,
            Column("pixel1_ms", "Pixel 1, ms", stands=PHONE),
            Column("plain_ms", "without optimised h-swish, ms", stands=PHONE),
        ),
        read=_table_5,
    ),
    Entry(
        id="v3.table9",
        title="Floating point performance at other widths and resolutions",
        source=f"{PAPER}, table 9",
        columns=(TOP1, PIXELS[0], MACS, PARAMS),
        read=lambda: _classifiers("paper T9 (appendix)"),
        notes=(
            Note(
                "7.5 keeps the head's 1280 at 1.25 (7.55); V3-Small at 1.25 beside it scales it (3.6, kept 3.2)",
                "V3-large 1.25 224",
                ("params",),
            ),
            Note("printed 40 and 2.2; the arithmetic is 39.47 and 2.132", "V3-large 0.35 224", ("macs", "params")),
            Note(HEAD_1280, ("V3-small 0.75 224", "V3-small 1.0 256", "V3-small 1.0 192"), ("macs", "params")),
            remark(
                "the paper's versions differ in V3-Small's parameters and in latencies: the later one is followed; "
                "expanded sizes are ratios of the scaled input, without which all rows at other widths are missed",
                "V3-small 1.0 224",
                ("params",),
            ),
        ),
    ),
    Entry(
        id="v3.slim",
        title="Published checkpoints of V3",
        source=SLIM,
        columns=(TOP1, *PIXELS, MACS, PARAMS),
        read=lambda: _classifiers("slim README"),
        notes=(
            Note(PRINTED_66, "Small 1 *", ("macs",)),
            Note(HEAD_1280, "Small 0.75 *", ("macs",)),
            Note(HEAD_1280, "Small [01]*", ("params",)),
            Note(
                "printed 65; the arithmetic gives 52.3, and the parameters agree: the arithmetic is followed",
                "Small minimalistic 1 224",
                ("macs",),
            ),
        ),
    ),
    Entry(
        id="v3.paddle",
        title="V3 in PaddleClas",
        source=PADDLE,
        columns=(TOP1, TOP5, MACS, PARAMS),
        read=lambda: _classifiers("PaddleClas"),
        notes=(Note(PADDLES, "*", ("macs", "params")),),
    ),
)
