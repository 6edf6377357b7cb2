"""The main job from end to end on data rendered on the spot: check, train, evaluate, export, verify, bench, report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from .api import train
from .console import say
from .data.check import check
from .data.hands import prepare
from .deploy.bench import bench
from .deploy.evaluate import evaluate
from .deploy.export import export
from .deploy.verify import verify


def demo(
    out: str | os.PathLike[str] = "demo",
    *,
    model: str = "mobilenet_v3_small",
    images: int = 2400,
    resolution: int = 96,
    minutes: float = 4.8,
    seed: int = 0,
    restart: bool = False,
) -> dict[str, Any]:
    """Renders hands that show rock, paper or scissors and takes them to a checked ONNX file under `out`.

    Returns what `demo --json` prints: `data` (the check), `train`, `evaluate`, `export`, `verify`, `bench`, `bundle`,
    `ok` and the `seconds` of each step. The images are cached; the training resumes like any other.
    """
    folder, seconds = Path(out), {}

    def step(name: str, number: int) -> None:
        say(f"\n{number}/7  {name}")
        seconds[name] = time.perf_counter()

    began = time.perf_counter()
    step("render hands", 1)
    data = prepare(images=images, size=resolution, seed=0)
    say(f"{images} pictures of rock, paper and scissors in {data}")
    step("data check", 2)
    report = check(data)
    problems = report.to_json()
    say(f"{problems['images']} images, {problems['classes']} classes, {len(problems['problems'])} problems")
    step("train", 3)
    run = folder / "run"
    trained = train(
        data,
        model=model,
        out=run,
        minutes=minutes,
        resolution=resolution,
        total_stride=32,
        batch_size=32,
        seed=seed,
        restart=restart,
    )
    step("evaluate", 4)
    evaluated = evaluate(run, data, split="test")
    low, high = evaluated["top1_interval"]
    say(f"top-1 {evaluated['top1']:.1%} (95 % interval {low:.1%}-{high:.1%}, {evaluated['images']} images)")
    step("export", 5)
    bundle = folder / "bundle"
    exported = export(run, bundle, to=("onnx",))
    step("verify", 6)
    verified = verify(bundle, data, split="test")
    for file in verified["files"]:
        agreement = "not run" if file["agreement"] is None else f"agreement {file['agreement']:.1%}"
        say(f"{file['runtime']} {file['precision']}: {agreement}, {_word(file['ok'])}")
    step("bench", 7)
    timed = bench(bundle)
    for file in timed["files"]:
        say(f"{file['runtime']} {file['precision']}: {file['median_ms']:.2f} ms, {file['size_mb']:.2f} MB")
    starts = [*seconds.values(), time.perf_counter()]
    return {
        "ok": verified["ok"],
        "data": problems,
        "train": trained,
        "evaluate": evaluated,
        "export": exported,
        "verify": verified,
        "bench": timed,
        "bundle": str(bundle),
        "report": str(run / "report.html"),
        "seconds": {
            "total": round(time.perf_counter() - began, 1),
            **{name: round(end - start, 1) for name, start, end in zip(seconds, starts, starts[1:])},
        },
    }


def _word(ok: bool) -> str:
    return "passed" if ok else "FAILED"
