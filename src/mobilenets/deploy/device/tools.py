"""The runtimes' own benchmark programs: their command lines, and what they print.

LiteRT: tensorflow/lite/tools/benchmark. ncnn: benchmark/benchncnn.cpp. ExecuTorch:
examples/portable/executor_runner/executor_runner.cpp.
"""

from __future__ import annotations

import re
import shlex
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle import ModelFile

WARM_UP_RUNS = 10
RUNS = 50  # at least, where the program takes a number of runs
NOTHING: dict[str, Any] = {
    **dict.fromkeys(("median_ms", "p90_ms", "p95_ms", "p99_ms", "cold_start_ms", "load_ms", "first_run_ms")),
    **dict.fromkeys(("peak_rss_bytes", "start_rss_bytes", "file_rss_bytes", "joules_per_run", "spread")),
    "round_medians_ms": [],
}


@dataclass(frozen=True)
class Job:
    """One run of a program: where the file lies there, side of the input in pixels, threads, seconds to measure."""

    program: str
    file: str
    size: int
    threads: int
    seconds: float


@dataclass(frozen=True)
class Tool:
    """A benchmark program. `read` gives the measurements of its output, None where it holds none.

    `command(job, runs)` is its command line; a program that goes `by_time` ignores the runs. `parts` are the endings of
    the files it needs.
    """

    runtime: str
    program: str
    parts: tuple[str, ...]
    command: Callable[[Job, int], str]
    read: Callable[[str], dict[str, Any] | None]
    by_time: bool = False

    def needs(self, model: ModelFile) -> list[str]:
        """The parts of a model that have to be copied."""
        return [part for part in model.parts if part.endswith(self.parts)]


def _litert(job: Job, runs: int) -> str:
    return shlex.join(
        [
            job.program,
            f"--graph={job.file}",
            f"--num_threads={job.threads}",
            f"--warmup_runs={WARM_UP_RUNS}",
            f"--num_runs={RUNS}",
            f"--min_secs={job.seconds:g}",
            f"--max_secs={10 * job.seconds + 60:g}",
            "--use_xnnpack=true",
            "--report_peak_memory_footprint=true",
        ]
    )


_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"


def read_litert(output: str) -> dict[str, Any] | None:
    """benchmark_model: the line `count=…` of the runs that count, the last, and the summary after it, microseconds."""
    counted = re.findall(rf"count=(\d+) .*?min={_NUMBER} max={_NUMBER} avg={_NUMBER} .*", output)
    lines = [line for line in output.splitlines() if "count=" in line and " avg=" in line]
    summary = re.search(rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}", output)
    if not counted or not summary:
        return None
    runs, _, _, average = counted[-1]
    named = {key: float(value) / 1e3 for key, value in re.findall(rf"(median|p95)={_NUMBER}", lines[-1])}
    load, first = (float(value) / 1e3 for value in summary.groups())
    memory = re.search(rf"peak memory footprint \(MB\).*?: {_NUMBER}|\(MB\): init={_NUMBER} overall={_NUMBER}", output)
    overall = next((value for value in reversed(memory.groups()) if value), None) if memory else None
    taken = re.search(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)", output)
    return NOTHING | {
        "median_ms": named.get("median"),
        "p95_ms": named.get("p95"),
        "average_ms": float(average) / 1e3,
        "runs": int(runs),
        "load_ms": load,
        "first_run_ms": first,
        "cold_start_ms": load + first,
        "file_rss_bytes": None if overall is None else round(float(overall) * 2**20),
        "notes": [f"{taken[3]} took {taken[1]} of {taken[2]} operators"] if taken else [],
    }


def _ncnn(job: Job, runs: int) -> str:
    shape = f"shape=[{job.size},{job.size},3]"
    return shlex.join([job.program, str(runs), str(job.threads), "0", "-1", "0", f"param={job.file}", shape])


def read_ncnn(output: str) -> dict[str, Any] | None:
    """benchncnn: `NAME  min = … max = … avg = …` in milliseconds, after `loop_count = N`."""
    found = re.search(rf"min =\s*{_NUMBER}\s+max =\s*{_NUMBER}\s+avg =\s*{_NUMBER}", output)
    loops = re.search(r"loop_count = (\d+)", output)
    if not found or not loops:
        return None
    note = "benchncnn reads the network alone: its weights are zeros, its precision is the one it chooses"
    return NOTHING | {"average_ms": float(found[3]), "runs": int(loops[1]), "notes": [note]}


def _executorch(job: Job, runs: int) -> str:
    return shlex.join(
        [job.program, f"--model_path={job.file}", f"--num_executions={runs}", f"--cpu_threads={job.threads}"]
    )


def read_executorch(output: str) -> dict[str, Any] | None:
    """executor_runner: `Iteration I of N: … ms` for each run where its version has it, else the sum of all."""
    whole = re.search(rf"Model executed successfully (\d+) time\(s\) in {_NUMBER} ms", output)
    if not whole:
        return None
    each = [float(ms) for ms in re.findall(rf"Iteration \d+ of \d+: {_NUMBER} ms", output)]
    loaded = re.search(rf"Model loaded in {_NUMBER} ms", output)
    load = float(loaded[1]) if loaded else None
    found = NOTHING | {
        "runs": int(whole[1]),
        "average_ms": float(whole[2]) / int(whole[1]),
        "load_ms": load,
        "notes": [],
    }
    if len(each) > WARM_UP_RUNS:
        times = each[WARM_UP_RUNS:]
        found |= {"runs": len(times), "average_ms": statistics.fmean(times), "median_ms": statistics.median(times)}
        found |= {f"p{q}_ms": float(np.percentile(times, q)) for q in (90, 95, 99)}
        found |= {"first_run_ms": each[0], "cold_start_ms": None if load is None else load + each[0]}
    elif len(each) < int(whole[1]):
        found["notes"] = ["this executor_runner states the sum of all runs, warm-up included"]
    return found


TOOLS: Sequence[Tool] = (
    Tool("litert", "benchmark_model", (".tflite",), _litert, read_litert, by_time=True),
    Tool("ncnn", "benchncnn", (".param",), _ncnn, read_ncnn),
    Tool("executorch", "executor_runner", (".pte", ".ptd"), _executorch, read_executorch),
)


def tool_of(runtime: str) -> Tool | None:
    """The benchmark program of a runtime; None where it has none that runs on a device."""
    return next((tool for tool in TOOLS if tool.runtime == runtime), None)
