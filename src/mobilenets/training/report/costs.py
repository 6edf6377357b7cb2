"""What the network costs, by stage and by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...arch.cost import LayerCost
from ...arch.stages import Stage, stages
from .bars import bar
from .facts import Facts
from .figures import count, percent, short
from .html import Child, Markup, details, section, table, tag


def costs(facts: Facts) -> Markup:
    """The section of the cost: a table of the stages, and the layers on a click."""
    cost = facts.cost
    layers = cost.layers
    heaviest = max(layers, key=lambda layer: layer.macs)
    height, width = cost.input[1:]
    lead: list[Child] = [
        f"One picture of {height} × {width} takes ",
        tag("b", f"{short(cost.macs)} multiply-adds"),
        f", {percent(heaviest.macs / max(cost.macs, 1), 0)} of them in ",
        tag("code", heaviest.name),
        ". At its peak, in ",
        tag("code", cost.peak_layer),
        f", {short(cost.activation_bytes, 'B')} of activations are alive at once.",
    ]
    if cost.macs_attention:
        lead.append(f" Attention’s matrix products add {short(cost.macs_attention)}.")
    summary = f"All {len(layers)} layers"
    return section(
        "cost",
        "Cost",
        tag("p.lead", lead),
        tag("div.card", _stage_table(stages(layers)), details(summary, _layer_table(layers))),
        tag(
            "p.quiet",
            "One multiply-add is one MAC; convolutions and linear layers are counted, without bias, normalisation and "
            "activation. Memory is float32 at batch 1: what must be alive while a layer runs, residuals included.",
        ),
    )


def _stage_table(rows: Sequence[Stage]) -> Markup:
    body = [(row.name, _shape(row.out), *figures) for row, figures in zip(rows, _figures(rows))]
    return table(("Blocks", "Output", "MACs", "Params", "Memory"), body, style="costs stages")


def _layer_table(rows: Sequence[LayerCost]) -> Markup:
    body = [
        (tag("code", row.name), _kind(row), _shape(row.out), *figures) for row, figures in zip(rows, _figures(rows))
    ]
    return table(("Layer", "Kind", "Output", "MACs", "Parameters", "Memory"), body, style="costs")


def _figures(rows: Sequence[Stage] | Sequence[LayerCost]) -> Iterable[tuple[Markup, Markup, Markup]]:
    """MACs, parameters and memory of each row over bars; the largest of a column fills its cell."""
    macs = max(row.macs for row in rows) or 1
    params = max(row.params for row in rows) or 1
    alive = max(row.alive_bytes for row in rows) or 1
    for row in rows:
        yield (
            bar(short(row.macs), row.macs / macs, "first", title=count(row.macs)),
            bar(short(row.params), row.params / params, "second", title=count(row.params)),
            bar(short(row.alive_bytes, "B"), row.alive_bytes / alive, "third", title=f"{count(row.alive_bytes)} bytes"),
        )


def _shape(out: tuple[int, int, int]) -> str:
    channels, height, width = out
    return f"{count(channels)} × {height} × {width}" if (height, width) != (1, 1) else count(channels)


def _kind(layer: LayerCost) -> str:
    size = f" {layer.kernel} × {layer.kernel}" if layer.kernel > 1 else ""
    return layer.kind + size + (f", stride {layer.stride}" if layer.stride > 1 else "")
