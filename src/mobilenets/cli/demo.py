"""`demo`: the main job from end to end on pictures rendered here."""

from __future__ import annotations

from pathlib import Path

from . import output
from .output import Answer


def demo(
    *,
    out: Path = Path("demo"),
    model: str = "mobilenet_v3_small",
    images: int = 2400,
    resolution: int = 96,
    minutes: float = 4.8,
    seed: int = 0,
    restart: bool = False,
) -> Answer:
    """Does the main job on hands rendered here: data check, train, evaluate, export, verify, bench, report.

    Nothing is downloaded. The pictures are cached, and the same command again goes on where it stopped.

    Args:
        out: folder for the Run, the Bundle and the report
        model: architecture; see `mobilenets models`
        images: pictures to render
        resolution: side of the network's input in pixels
        minutes: time to train
        seed: of the training
        restart: train anew
    """
    from ..demo import demo as run_demo

    result = run_demo(
        out, model=model, images=images, resolution=resolution, minutes=minutes, seed=seed, restart=restart
    )

    def show() -> None:
        evaluated = result["evaluate"]
        output.line("")
        output.line(
            f"top-1        {output.percent(evaluated['top1'], evaluated['top1_interval'])}, "
            f"{evaluated['images']} images that were held out"
        )
        for file in result["bench"]["files"]:
            output.line(
                f"latency      {file['median_ms']:.2f} ms, {file['runtime']} {file['precision']}, "
                f"{file['threads']} thread{'s' if file['threads'] > 1 else ''}"
            )
        for file in result["export"]["files"]:
            output.line(f"size         {output.megabytes(file['size_mb'] * 1e6)}")
        output.line(f"verified     {'yes' if result['ok'] else 'no'}")
        output.line(f"time         {result['seconds']['total']:.0f} s")
        output.line(f"bundle       {result['bundle']}")
        output.line(f"report       {result['report']}")

    return Answer(result, show, ok=bool(result["ok"]))
