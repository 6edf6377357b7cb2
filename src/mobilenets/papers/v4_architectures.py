"""MobileNet V4 (Qin et al. 2024, arXiv:2404.10518): the appendix' tables, which are the architectures."""

from __future__ import annotations

from ..arch import v4
from .architecture import MADE, of_blocks, of_layer, printed, words
from .counting import (
    network,
)
from .entry import Column, Entry, Row
from .v4 import PAPER


def _architecture(name: str) -> tuple[Row, ...]:
    whole = network(f"mobilenet_v4_{name}").cost()
    rows = []
    for number, row in enumerate(v4.VARIANTS[name].rows):
        made = of_blocks(whole, number, number)
        if isinstance(row, v4.Universal):
            kind = {(False, False): "FFN", (True, False): "ConvNext", (False, True): "IB", (True, True): "ExtraDW"}[
                bool(row.dw_start), bool(row.dw_mid)
            ]
            cells = words(
                k1=row.dw_start or "-", k2=row.dw_mid or "-", expanded=row.expanded, dim=row.out, s=row.stride
            )
        elif isinstance(row, v4.Fused):
            kind, cells = f"FusedIB {row.kernel}x{row.kernel}", words(expanded=row.expanded, dim=row.out, s=row.stride)
        elif isinstance(row, v4.Conv):
            kind, cells = f"Conv2D {row.kernel}x{row.kernel}", words(dim=row.out, s=row.stride)
        else:
            kind = f"MQA, {row.heads} heads of {row.key_dim}" + (", keys and values at half" * (row.kv_stride > 1))
            cells = words(dim=row.out, s=1)
        rows.append(Row(name=f"{number + 1} {kind}", figures=cells | made))
    after = len(rows) + 1
    rows += [
        Row(name=f"{after} AvgPool", figures=of_layer(whole, "head.pool")),
        Row(
            name=f"{after + 1} Conv2D 1x1",
            figures=words(dim=v4.HIDDEN_CHANNELS, s=1) | of_layer(whole, "head.hidden"),
        ),
        Row(name=f"{after + 2} Conv2D 1x1", figures=words(dim=1000, s=1) | of_layer(whole, "head.classifier")),
    ]
    return tuple(rows)


def _architecture_entry(name: str, title: str) -> Entry:
    columns = (
        Column("input", "input"),
        printed("k1", "DW K1"),
        printed("k2", "DW K2"),
        printed("expanded", "expanded dim"),
        printed("dim", "output dim"),
        printed("s", "stride"),
        *MADE,
    )
    return Entry(
        id=f"v4.{name}",
        title=f"Architecture of {title}",
        source=f"{PAPER}, appendix, as it stands in mobilenets/arch/v4.py",
        columns=columns,
        read=lambda: _architecture(name),
        first="block",
    )


ENTRIES = (
    _architecture_entry("conv_small", "MNv4-Conv-S"),
    _architecture_entry("conv_medium", "MNv4-Conv-M"),
    _architecture_entry("conv_large", "MNv4-Conv-L"),
    _architecture_entry("hybrid_medium", "MNv4-Hybrid-M"),
    _architecture_entry("hybrid_large", "MNv4-Hybrid-L"),
)
