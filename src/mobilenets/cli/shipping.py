"""`export`, `verify` and `bench`: the folder that ships, the gate it has to pass, and what it costs to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from . import output
from .output import Answer


def export(
    network: str,
    /,
    *,
    out: Path,
    to: str = "onnx",
    precision: str | None = None,
    int8: bool = False,
    data: Path | None = None,
    labels: str | None = None,
    calibration_images: int = 256,
) -> Answer:
    """Writes a Bundle: model files for each runtime, what they take and give, golden images, examples, a card.

    The files take raw uint8 RGB and normalise inside. The same Run gives the same files, byte for byte.

    Args:
        network: a Run, a Bundle, or an architecture's name (then with random weights, for measuring speed)
        out: folder of the Bundle; a Bundle that is there is replaced as a whole, any other folder is left alone
        to: runtimes, separated by commas: onnx, ncnn, torch
        precision: float32, float16, bfloat16, int8, or several separated by commas, for each runtime that has it;
            left out, each runtime's first, float32 where it has that
        int8: int8 beside that
        data: images to calibrate int8 with; left out, those that the Run was trained on, where they are still there
        labels: which label column of the data to spread them over where it has several
        calibration_images: how many, at most
    """
    from ..deploy.export import export as export_bundle
    from ..deploy.runtimes import runtime

    runtimes = _listed(to)
    precisions = _listed(precision or "")
    if int8:
        precisions = precisions or list(dict.fromkeys(runtime(name).precisions[0] for name in runtimes))
        precisions.append("int8")
    result = export_bundle(
        network,
        out,
        runtimes,
        precisions,
        data=data,
        labels=labels,
        calibration_images=calibration_images,
    )

    def show() -> None:
        output.table(
            ["file", "runtime", "precision", ">size", ">largest error"],
            [
                [
                    str(Path(result["bundle"]) / row["path"]),
                    row["runtime"],
                    row["precision"],
                    output.megabytes(row["size_mb"] * 1e6),
                    "not run here" if row["max_abs_error"] is None else f"{row['max_abs_error']:.2g}",
                ]
                for row in result["files"]
            ],
        )
        output.line("")
        output.line(f"bundle       {result['bundle']}")

    return Answer(result, show)


def verify(
    bundle: Path,
    data: str,
    /,
    *,
    split: str | None = None,
    images: int = 1000,
    labels: str | None = None,
    min_agreement: float | None = None,
    max_relative_error: float | None = None,
    max_drop: float | None = None,
) -> Answer:
    """Runs every file of a Bundle in its own runtime against the network, on real images. Status 1 when one fails.

    Args:
        bundle: a Bundle
        data: labelled images in any form that `train` reads
        split: train, val, test or all; left out as in `evaluate`
        images: how many images at most, spread over the classes; fewer than 100 are not enough to pass
        labels: which label column to score where the data has several
        min_agreement: share of images, 0 to 1, on which a file has to give the network's answer
        max_relative_error: largest error of a logit, relative to the network's largest logit
        max_drop: most top-1 accuracy that a file may lose against the network, 0 to 1
    """
    from ..deploy.verify import verify as verify_bundle

    result = verify_bundle(
        bundle,
        data,
        split=split,
        images=images,
        labels=labels,
        min_agreement=min_agreement,
        max_relative_error=max_relative_error,
        max_drop=max_drop,
    )

    def show() -> None:
        output.table(
            ["file", "runtime", "precision", ">top-1", ">agreement", ">largest error", ""],
            [_verified(row) for row in result["files"]],
        )
        output.line("")
        output.line(f"images       {output.count(result['images'])} ({result['split']})")
        if result["network"]["top1"] is not None:
            network = result["network"]
            output.line(f"network      top-1 {output.percent(network['top1'], network['top1_interval'])}")
        for reason in result["reasons"]:
            output.line(f"failed       {reason}")
        for row in result["files"]:
            for reason in row["reasons"]:
                output.line(f"{'failed' if row['ok'] is False else 'not run':13}{row['path']}: {reason}")
        output.line(f"verified     {'yes' if result['ok'] else 'no'}")

    return Answer(result, show, ok=bool(result["ok"]))


def _verified(row: dict[str, Any]) -> list[str]:
    if row["agreement"] is None:
        said = "failed" if row["ok"] is False else "not run here"
        return [row["path"], row["runtime"], row["precision"], "", "", "", said]
    return [
        row["path"],
        row["runtime"],
        row["precision"],
        "" if row["top1"] is None else output.percent(row["top1"], row["top1_interval"]),
        f"{100 * row['agreement']:.2f} %",
        f"{row['max_abs_error']:.2g}",
        "ok" if row["ok"] else "failed",
    ]


def bench(bundle: Path, /, *, threads: str = "1", seconds: float = 3.0) -> Answer:
    """Measures every file of a Bundle on this machine: latency, peak memory, size.

    Latency is at batch 1 from uint8 input to output, resizing excluded. Each file runs in a process of its own, the
    files in turns.

    Args:
        bundle: a Bundle, or one model file of it
        threads: CPU threads, or several numbers separated by commas
        seconds: time to measure each file, in seconds
    """
    from ..deploy.bench import bench as bench_bundle

    result = bench_bundle(bundle, threads=[_whole(word) for word in _listed(threads)], seconds=seconds)

    def show() -> None:
        output.table(
            ["file", "runtime", "precision", ">threads", ">median", ">p95", ">cold start", ">size", ">peak memory"],
            [
                [
                    row["path"],
                    row["runtime"],
                    row["precision"],
                    row["threads"],
                    f"{row['median_ms']:.2f} ms",
                    f"{row['p95_ms']:.2f} ms",
                    f"{row['cold_start_ms']:.0f} ms",
                    output.megabytes(row["size_mb"] * 1e6),
                    output.megabytes(row["peak_rss_bytes"]),
                ]
                for row in result["files"]
            ],
        )
        output.line("")
        output.line(f"machine      {result['machine']['cpu']}, {result['machine']['cores']} cores")

    return Answer(result, show)


def _listed(words: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in words.split(",") if word.strip()]


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise UserError(f"--threads: expected whole numbers separated by commas, got {word!r}") from None
