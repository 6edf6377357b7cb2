"""`bench`: what the files of a Bundle cost to run, here or on a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import output
from .output import Answer


def bench(
    bundle: Path,
    /,
    *,
    threads: str = "1",
    seconds: float | None = None,
    sustained: bool = False,
    plot: Path | None = None,
    device: str | None = None,
    binary: tuple[Path, ...] = (),
) -> Answer:
    """Measures every file of a Bundle: latency, memory, energy, size, and which kernels really ran.

    Latency is at batch 1 from uint8 input to output, resizing excluded. Each file runs in a process of its own on as
    many processors as threads, the files in turns. On a device the runtime's own benchmark program measures: LiteRT's
    benchmark_model, ncnn's benchncnn, ExecuTorch's executor_runner.

    Args:
        bundle: a Bundle, or one model file of it
        threads: CPU threads, or several numbers separated by commas
        seconds: time to measure each file, in seconds: 3, with --sustained 60
        sustained: each file at one go, and whether the machine slows down meanwhile
        plot: draw the comparison into this file, .svg or .png
        device: adb:SERIAL or ssh:HOST: measure there
        binary: a benchmark program built for the device, copied there; may be repeated; left out, the device's own
    """
    counts = [_whole(word.strip()) for word in threads.split(",") if word.strip()]
    if plot is not None:
        from ..drawing.plot import check_path

        check_path(plot)
    if device is None:
        if binary:
            raise UserError(f"--binary {binary[0]}: only with --device; here the files run in their own runtimes")
        from ..deploy.bench import bench as bench_bundle

        result = bench_bundle(bundle, threads=counts, seconds=seconds, sustained=sustained)
    else:
        if sustained:
            raise UserError("--sustained measures this machine; leave it out with --device")
        from ..deploy.device.bench import bench_device

        result = bench_device(bundle, device, threads=counts, seconds=seconds, binaries=binary)
    if plot is not None:
        from ..deploy.benchplot import plot_bench

        result["plot"] = str(plot_bench(result, plot))
    return Answer(result, lambda: _show(result))


def _show(result: dict[str, Any]) -> None:
    rows = result["files"]
    joules = any(row["joules_per_run"] is not None for row in rows)
    columns = [
        "file", "runtime", "precision", ">threads", ">median", ">ratio", ">p95", ">cold start", ">size",
        ">memory", *([">energy"] if joules else []), "computed in",
    ]  # fmt: skip
    output.table(columns, [_cells(row, joules) for row in rows])
    output.line("")
    notes = [f"{row['path']}: {note}" for row in rows if row["ran"] for note in row["ran"]["notes"]]
    for note in dict.fromkeys(notes):  # the same with each number of threads
        output.line(f"note         {note}")
    for row in rows:
        if row["sustained"]:
            output.line(f"sustained    {row['path']}, {row['threads']} threads: {row['sustained']['verdict']}")
    for row in result["not_run"]:
        output.line(f"not run      {row['path']}: {row['reason']}")
    noise = [row["spread"] for row in rows if row["spread"] is not None]
    if noise:
        output.line(f"noise        the medians of {result['rounds']} rounds differ by up to {max(noise):.0%}")
    if result["energy_absent"]:
        output.line(f"energy       {result['energy_absent']}")
    output.line(f"machine      {result['machine']['cpu']}, {result['machine']['cores']} cores")
    if "plot" in result:
        output.line(f"plot         {result['plot']}")


def _cells(row: Mapping[str, Any], joules: bool) -> list[str]:
    energy = row["joules_per_run"]
    memory = row["file_rss_bytes"]
    return [
        row["path"],
        row["runtime"],
        row["precision"],
        str(row["threads"]),
        _ms(row["median_ms"]) or f"{_ms(row['average_ms'])} (mean)",
        f"× {row['ratio']:.2f}",
        _ms(row["p95_ms"]),
        "" if row["cold_start_ms"] is None else f"{row['cold_start_ms']:.0f} ms",
        output.megabytes(row["size_mb"] * 1e6),
        "" if memory is None else output.megabytes(memory),
        *(["" if energy is None else f"{1e3 * energy:.1f} mJ"] if joules else []),
        ", ".join(f"{name} {count}" for name, count in row["ran"]["precisions"].items()) if row["ran"] else "",
    ]


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} ms"


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise UserError(f"--threads: expected whole numbers separated by commas, got {word!r}") from None
