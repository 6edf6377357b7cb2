"""`prune`: a narrower network that is measurably faster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from . import output
from .output import Answer


def prune(
    network: str,
    /,
    *,
    out: Path,
    data: str | None = None,
    labels: str | None = None,
    keep: float = 0.5,
    target: str | None = None,
    threads: int = 1,
    method: Literal["netadapt", "one-shot", "uniform"] = "netadapt",
    criterion: Literal["l1", "l2", "batch_norm", "taylor"] = "l2",
    multiple: int = 8,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    restart: bool = False,
) -> Answer:
    """Cuts channels and blocks until a part of the latency is left, and trains the rest. Status 1 where it misses.

    The result is a dense network of its own, whose spec.json any part of this package reads. Every step of the search
    is kept; the same command goes on. Proposals are judged on selection images, and the split that is reported is
    scored once, at the end.

    Args:
        network: a Run, or published weights with the classes of the data
        out: folder of the pruned Run; the search is kept in OUT.search until it is done
        data: labelled images in any form that `train` reads; left out, those that the Run was trained on
        labels: which label column where the data has several
        keep: the part that is left, above 0 and below 1: of the target's latency, without a target of the multiply-adds
        target: the runtime whose float32 file is measured on this machine, such as onnx
        threads: CPU threads of that file
        method: netadapt: in steps, a little training after each; one-shot: by the criterion; uniform: all alike
        criterion: which channels go first: of small weights (l1, l2), gamma (batch_norm), effect on the loss (taylor)
        multiple: channel counts are multiples of it
        minutes: for all of it, about two fifths for the search
        epochs: passes over the images of the training at the end; with minutes, whichever ends first
        seed: of order and augmentation
        restart: begin anew: the search and the Run in the folder are deleted
    """
    from ..deploy.prune import prune as prune_network

    result = prune_network(
        network,
        out,
        data,
        labels=labels,
        keep=keep,
        target=target,
        threads=threads,
        method=method,
        criterion=criterion,
        multiple=multiple,
        minutes=minutes,
        epochs=epochs,
        seed=seed,
        restart=restart,
    )
    return Answer(result, lambda: _show(result), ok=result["ok"])


def _show(result: dict[str, Any]) -> None:
    if result["steps"]:
        output.table(
            ["step", "cut", ">left", ">top-1"],
            [
                [str(number), _cuts(row), _left(row, result), output.percent(row["top1"])]
                for number, row in enumerate(result["steps"], 1)
            ],
            title="top-1 after the short training, on selection images",
        )
        output.line("")
    for name, unit in (("macs", "M multiply-adds"), ("params", "M parameters")):
        before, after = (result[name][when] / 1e6 for when in ("before", "after"))
        output.line(f"{unit:16} {before:.2f} -> {after:.2f}, {output.percent(after / before)} left")
    if result["latency"]:
        row = result["latency"]
        output.line(
            f"{'latency':16} {result['target']}, float32, {result['threads']} thread: {row['before_ms']:.2f} -> "
            f"{row['after_ms']:.2f} ms, {output.percent(row['ratio'])} left"
        )
    for name, scores in (("original", result["original"]), ("pruned", result["report"])):
        output.line(
            f"{name:16} top-1 {output.percent(scores['top1'])} ({_ends(scores['top1_interval'])}), "
            f"{scores['images']} images ({scores['split']})"
        )
    if not result["ok"]:
        output.line(f"{'verdict':16} slower than asked: {output.percent(result['keep'])} were to be left")
    output.line(f"{'run':16} {result['run']}")


def _cuts(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {channels or 'gone'}" for name, channels in row["cuts"])


def _left(row: dict[str, Any], result: dict[str, Any]) -> str:
    whole = result["latency"]["before_ms"] if result["latency"] else result["macs"]["before"] / 1e6
    return output.percent(row["measured"] / whole)


def _ends(interval: Sequence[float]) -> str:
    return "-".join(f"{100 * end:.1f}" for end in interval)
