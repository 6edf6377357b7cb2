"""`models` and `cost`: what networks there are and what they cost. Neither imports torch."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from .. import console
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
) -> Answer:
    """What a network costs: multiply-adds, parameters and peak activation memory, layer by layer.

    One multiply-add is one MAC; biases, BatchNorm and activations are not counted. The activation memory is the peak
    of what must be alive at once when the layers run in order. JSON: one object for one network, a list for several.

    Args:
        network: names as `mobilenets models` or `weights list` has them, Runs, Bundles, published files
        width: width multiplier, above 0 and at most 2 (an architecture's name only)
        resolution: side of the square input in pixels, 16 or more
        classes: number of classes; 1000 where a name is given
        compare: one row per network, relative to the first, without the layers
    """
    from ..api import cost as cost_of

    costs = [cost_of(each, width=width, resolution=resolution, classes=classes) for each in network]

    def show() -> None:
        if compare or len(costs) > 1:
            _show_comparison(costs)
        else:
            _show_layers(costs[0])

    documents = [each.to_json() for each in costs]
    return Answer(documents[0] if len(documents) == 1 else documents, show)


def _show_comparison(costs: list[Cost]) -> None:
    first = costs[0]
    output.table(
        [
            "network",
            ">input",
            ">multiply-adds",
            ">relative",
            ">parameters",
            ">relative",
            ">activations",
            ">int8 weights",
        ],
        [
            [
                each.name,
                each.input[1],
                output.millions(each.macs),
                f"{each.macs / first.macs:.2f}",
                output.count(each.params),
                f"{each.params / first.params:.2f}",
                output.megabytes(each.activation_bytes),
                output.megabytes(each.bytes_int8),
            ]
            for each in costs
        ],
    )


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
