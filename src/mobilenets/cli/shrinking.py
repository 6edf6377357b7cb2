"""`quantize`: the network that computes in int8, what it lost, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from . import output
from .output import Answer


def quantize(
    network: str,
    /,
    *,
    out: Path,
    data: str | None = None,
    labels: str | None = None,
    max_drop: float = 0.005,
    target: str | None = None,
    minutes: float | None = None,
    calibration: str = "min-max",
    calibration_images: int = 512,
    keep_float: str | None = None,
    qat: bool = False,
    qat_epochs: int | None = None,
    swap: Literal["relu6", "relu"] | None = None,
) -> Answer:
    """Writes the int8 form of a network as a Run, explained by layer, repaired. Status 1 where too much is lost.

    Scales come from training images, decisions from the selection images, and the split that is reported is scored
    once, at the end. `export` writes the Run's files for every runtime, all with the same integers.

    Args:
        network: a Run, or published weights
        out: folder of the quantised Run; one that is there is replaced as a whole, any other folder is left alone
        data: labelled images in any form that `train` reads; left out, those that the Run was trained on
        labels: which label column where the data has several
        max_drop: most top-1 accuracy that may be lost, 0 to 1
        target: a runtime whose float32 and int8 files are measured on this machine, such as litert
        minutes: no repair is begun after that many
        calibration: how ranges are set at first: min-max, moving-average, percentile, mse, entropy
        calibration_images: how many, at most; fewer where the ranges have converged
        keep_float: layers that stay in float, separated by commas, as the answer's table names them
        qat: after the repairs, train the network as it rounds, taught by its float self, and keep it where it is better
        qat_epochs: passes over the training images; left out, as many as 10,000 images make, 3 to 30
        swap: first put this in place of hard-swish, and train that over 10,000 images, taught by the network as it was
    """
    from ..deploy.quantize import quantize as quantize_network

    result = quantize_network(
        network,
        out,
        data,
        labels=labels,
        max_drop=max_drop,
        target=target,
        minutes=minutes,
        calibration=calibration,
        calibration_images=calibration_images,
        keep_float=[name.strip() for name in (keep_float or "").split(",") if name.strip()],
        qat=qat,
        qat_epochs=qat_epochs,
        swap=swap,
    )
    return Answer(result, lambda: _show(result), ok=result["ok"])


def _show(result: dict[str, Any]) -> None:
    chosen, selection = result["repair"], result["selection"]
    output.table(
        ["tried", ">top-1", ">same answers", ">SQNR", ">int8 MACs", ""],
        [
            [
                row["words"],
                _percent(row["top1"]),
                output.percent(row["agreement"]),
                f"{row['sqnr_db']:.1f} dB",
                output.percent(row["int8_macs"]),
                "chosen" if row["words"] == chosen["words"] else "",
            ]
            for row in result["tried"]
        ],
        title=f"on {selection['images']} selection images; float {_percent(selection['top1_float'])}",
    )
    output.line("")
    _show_layers(result["layers"])
    output.line("")
    for name in ("float", "int8"):
        output.line(f"{name:12} {_rate(result, f'top1_{name}')}")
    same = output.percent(result["agreement"])
    output.line(f"{'same answer':12} {same} ({_ends(result['agreement_interval'])}), {result['images']} images")
    if result["latency"]:
        row = result["latency"]
        output.line(
            f"{'latency':12} {row['runtime']}: float32 {row['float32_ms']:.2f} ms, int8 {row['int8_ms']:.2f} ms, "
            f"× {row['speedup']:.2f}, {row['threads']} thread"
        )
    if not result["ok"]:
        allowed = output.percent(result["max_drop"])
        output.line(f"{'verdict':12} out of bounds on the selection images: at most {allowed} of top-1 may be lost,")
        output.line(f"{'':12} at least 95 % of the answers have to be the same")
    output.line(f"{'run':12} {result['run']}")


def _show_layers(rows: Sequence[dict[str, Any]], most: int = 8) -> None:
    """The layers that cost most, those first that do most harm alone."""
    worst = sorted(rows, key=lambda row: row["sqnr_only_db"])[:most]
    output.table(
        ["layer", ">only it rounds", ">all but it", ">top-1", ">all but it"],
        [
            [
                row["layer"],
                f"{row['sqnr_only_db']:.1f} dB",
                f"{row['sqnr_without_db']:.1f} dB",
                _percent(row["top1_only"]),
                _percent(row["top1_without"]),
            ]
            for row in worst
        ],
        title=f"the {len(worst)} layers of {len(rows)} that cause most of the error",
    )


def _rate(result: dict[str, Any], name: str) -> str:
    if result[name] is None:
        return "no accuracy: the data has other classes"
    ends = _ends(result[f"{name}_interval"])
    return f"top-1 {output.percent(result[name])} ({ends}), {result['images']} images ({result['split']})"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else output.percent(rate)


def _ends(interval: Sequence[float]) -> str:
    return "-".join(f"{100 * end:.1f}" for end in interval)
