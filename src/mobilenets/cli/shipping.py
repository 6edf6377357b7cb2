"""`export` and `verify`: the folder that ships, and the gate it has to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    keep: float | None = None,
) -> Answer:
    """Writes a Bundle: model files for each runtime, what they take and give, golden images, examples, a card.

    The files take raw uint8 RGB and normalise inside. The same Run gives the same files, byte for byte.

    Args:
        network: a Run, a Bundle, or an architecture's name (then with random weights, for measuring speed)
        out: folder of the Bundle; a Bundle that is there is replaced as a whole, any other folder is left alone
        to: runtimes, separated by commas: onnx, openvino, litert, executorch, coreml, ncnn, torch, web; or auto, the
            fastest of all that are installed and run here
        precision: float32, float16, bfloat16, weights8 (int8 weights alone, computed in float32), int8, or several
            separated by commas, for each runtime that has it; left out, each runtime's first, float32 where it has that
        int8: int8 beside that
        data: images to calibrate int8 with; left out, those that the Run was trained on, where they are still there
        labels: which label column of the data to spread them over where it has several
        calibration_images: how many, at most
        keep: share of right answers that the threshold for "unknown" leaves, 0 to 1; left out 0.95; of a Run
    """
    from ..deploy.export import export as export_bundle

    result = export_bundle(
        network,
        out,
        _listed(to),
        _listed(precision or ""),
        int8=int8,
        data=data,
        labels=labels,
        calibration_images=calibration_images,
        keep=keep,
    )

    def show() -> None:
        if "auto" in result:
            _show_tried(result["auto"])
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


def _show_tried(auto: dict[str, Any]) -> None:
    output.table(
        ["tried", "precision", ">median", ">ratio", ">size", ""],
        [
            [
                row["runtime"],
                row["precision"],
                f"{row['median_ms']:.2f} ms",
                f"× {row['ratio']:.2f}",
                output.megabytes(row["size_mb"] * 1e6),
                "chosen" if row["path"] == auto["chosen"] else "",
            ]
            for row in auto["tried"]
        ],
        title=f"{auto['threads']} thread, {auto['machine']['cpu']}",
    )
    output.line("")
    for row in auto["not_tried"]:
        output.line(f"not tried    {row['runtime']} {row['precision'] or ''}: {row['reason']}".replace(" :", ":"))
    output.line("")


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


def _listed(words: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in words.split(",") if word.strip()]
