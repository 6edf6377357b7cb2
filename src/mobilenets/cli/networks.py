"""`models`, `cost` and `plot`: what networks there are, what they cost, how they look. None imports torch."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from ..drawing.rows import Detail
from . import output
from .output import Answer

if TYPE_CHECKING:
    from ..arch.cost import Cost


def models(pattern: str = "", /) -> Answer:
    """Lists the architectures: parameters, multiply-adds, the resolution of the paper, how many weights are published.

    Any width may be written into the name: mobilenet_v3_small_075 is mobilenet_v3_small at 0.75.
    Status 1 where no name fits the pattern.

    Args:
        pattern: part of a name (v3), or a whole one with * and ? (mobilenet_v4_conv_*)
    """
    from ..arch.cost import cost as cost_of
    from ..arch.registry import ARCHITECTURES, create_spec
    from ..weights.catalog import of_architecture

    rows: list[dict[str, Any]] = []
    for name, architecture in ARCHITECTURES.items():
        if not fnmatch.fnmatchcase(name, pattern.lower() if _is_glob(pattern) else f"*{pattern.lower()}*"):
            continue
        whole = cost_of(create_spec(name))
        rows.append(
            {
                "name": name,
                "params": whole.params,
                "macs": whole.macs,
                "macs_attention": whole.macs_attention,
                "resolution": whole.input[1],
                "source": architecture.source,
                "weights": list(of_architecture(name)),
            }
        )

    def show() -> None:
        if not rows:
            console.say(f"no architecture's name fits {pattern!r}")
            return
        output.table(
            ["name", ">parameters", ">multiply-adds", ">resolution", ">weights", "source"],
            [
                [
                    r["name"],
                    output.count(r["params"]),
                    output.millions(r["macs"]),
                    r["resolution"],
                    len(r["weights"]) or "",
                    r["source"],
                ]
                for r in rows
            ],
        )

    return Answer(rows, show, ok=bool(rows))


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def cost(
    network: tuple[str, ...],
    /,
    *,
    width: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
    compare: bool = False,
    stages: bool = False,
) -> Answer:
    """What a network costs: multiply-adds, parameters and peak activation memory, layer by layer.

    One multiply-add is one MAC; biases, BatchNorm and activations are not counted. The activation memory is the peak
    of what must be alive at once when the layers run in order. JSON: one object for one network, a list for several.

    Args:
        network: names as `mobilenets models` or `weights list` has them, Runs, Bundles, published files
        width: width multiplier, above 0 and at most 2 (an architecture's name only)
        resolution: side of the square input in pixels, 16 or more
        classes: number of classes; 1000 where a name is given
        compare: networks side by side, each relative to the first, without the layers
        stages: stage by stage in place of layer by layer: what is computed at each output stride, and in the head
    """
    from ..api import cost as cost_of
    from . import comparison

    costs = [cost_of(each, width=width, resolution=resolution, classes=classes) for each in network]

    side_by_side = compare or len(costs) > 1

    def show() -> None:
        if side_by_side:
            comparison.show(costs)
        elif not stages:
            _show_layers(costs[0])
        if stages:
            comparison.show_stages(costs)

    documents = [each.to_json() for each in costs]
    for document, each in zip(documents, costs):
        if side_by_side:
            document["relative"] = comparison.relative(each, costs[0])
        if stages:
            document["stages"] = comparison.stage_rows(each)
    return Answer(documents[0] if len(documents) == 1 else documents, show)


def _show_layers(whole: Cost) -> None:
    output.table(
        ["layer", "kind", ">out", ">kernel", ">stride", ">multiply-adds", ">parameters", ">alive"],
        [
            [
                layer.name,
                layer.kind,
                " × ".join(map(str, layer.out)),
                layer.kernel or "",
                layer.stride,
                output.count(layer.macs),
                output.count(layer.params),
                output.megabytes(layer.alive_bytes),
            ]
            for layer in whole.layers
        ],
        title=f"{whole.name}, input {' × '.join(map(str, whole.input))}",
    )
    attention = f" + {output.millions(whole.macs_attention)} in attention" if whole.macs_attention else ""
    output.line(f"multiply-adds        {output.count(whole.macs)} ({output.millions(whole.macs)}){attention}")
    output.line(f"parameters           {output.count(whole.params)}")
    output.line(
        f"weights              {output.megabytes(whole.bytes_float32)} float32, "
        f"{output.megabytes(whole.bytes_float16)} float16, {output.megabytes(whole.bytes_int8)} int8"
    )
    output.line(
        f"peak activations     {output.megabytes(whole.activation_bytes)} float32, "
        f"{output.megabytes(whole.activation_bytes_int8)} int8, at {whole.peak_layer}"
    )


def plot(
    network: tuple[str, ...],
    /,
    *,
    out: Path | None = None,
    detail: Detail | None = None,
    width: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
) -> Answer:
    """Draws an architecture: its blocks, what flows between them, and the cost of each as bars.

    The title has the totals; the row at which the most memory is alive is marked. In an .svg every box tells its
    exact figures when it is pointed at. Several networks are drawn side by side, as bars.

    Args:
        network: names as `mobilenets models` or `weights list` has them, Runs, Bundles, published files
        out: picture to write, .svg, or .png, which needs matplotlib; NAME.svg or comparison.svg here where not given
        detail: what has a row of its own; blocks where not given
        width: width multiplier, above 0 and at most 2 (an architecture's name only)
        resolution: side of the square input in pixels, 32 or more
        classes: number of classes; 1000 where a name is given
    """
    from ..api import plot as draw

    path = draw(network, out, detail=detail, width=width, resolution=resolution, classes=classes)
    shown = None if len(network) > 1 else detail or "blocks"
    document = {"path": str(path), "networks": list(network), "detail": shown}
    return Answer(document, lambda: output.line(f"picture      {path}"))
