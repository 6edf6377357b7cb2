"""`bench`: how fast the files of a bundle are on this machine, in processes of their own, in turns."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..console import progress, warn
from ..errors import UserError
from .bundle import Bundle, ModelFile, is_bundle, open_bundle

ROUNDS = 5
NOISY = 0.10  # a spread of the rounds' medians beyond this is worth a warning


@dataclass
class _Contestant:
    """One file with one number of threads, in its own process."""

    model: ModelFile
    threads: int
    process: subprocess.Popen[str]
    stderr: IO[bytes]
    start: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)
    peak_rss_bytes: int = 0

    def read(self) -> dict[str, Any]:
        """The process's next answer. Raises UserError, with its last words, when it died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.stderr.seek(0)
            words = self.stderr.read().decode(errors="replace").strip().splitlines()
            raise UserError(f"{self.model.path} could not be run: {words[-1] if words else 'its process died'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, seconds: float) -> list[float]:
        """The milliseconds of every run in a round of so many seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self.read()
        self.peak_rss_bytes = answer["peak_rss_bytes"]
        times: list[float] = answer["times_ms"]
        return times


def bench(
    bundle: str | os.PathLike[str], *, threads: Sequence[int] = (1,), seconds: float = 3.0, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Latency at batch 1 from uint8 input to output, peak memory and size of every file. Returns the `bench` JSON.

    Each file runs in a fresh process with exactly so many threads. `seconds` of measuring per file are cut into
    `rounds`, taken in turns, so that a machine that slows down slows all alike; a round before them warms up.
    `bundle` may also be one model file of a bundle. The result is stored in measured.json.
    """
    opened, models = _models(bundle)
    _check(threads, seconds, rounds)
    with contextlib.ExitStack() as stack:
        field_ = [
            stack.enter_context(_started(opened, model, count)) for model in models for count in dict.fromkeys(threads)
        ]
        with progress() as bar:
            task = bar.add_task("bench", total=(rounds + 1) * len(field_), note="")
            for number in range(rounds + 1):
                for contestant in field_:
                    times = contestant.run(seconds / rounds)
                    if number:  # the first round warms up
                        contestant.rounds.append(times)
                    bar.update(task, advance=1, note=f"{contestant.model.path} {np.median(times):.2f} ms")
    rows = [_row(contestant) for contestant in field_]
    for row in rows:
        if row["spread"] > NOISY:
            warn(
                f"{row['path']}, {row['threads']} threads: the rounds' medians differ by {row['spread']:.0%}; "
                "something else keeps this machine busy"
            )
    result = {"bundle": str(bundle), "machine": machine(), "batch": 1, "rounds": rounds, "files": rows}
    opened.store("bench", result | {"bundle": opened.spec.name})
    return result


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpu": _cpu_name(),
        "cores": _cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _models(reference: str | os.PathLike[str]) -> tuple[Bundle, list[ModelFile]]:
    path = Path(reference)
    if path.is_dir():
        opened = open_bundle(path)
        return opened, list(opened.models)
    if not path.exists():
        raise UserError(f"{path}: no such bundle")
    for folder in path.absolute().parents:
        if is_bundle(folder):
            opened = open_bundle(folder)
            inside = path.absolute().relative_to(folder).as_posix()
            return opened, [model for model in opened.models if model.path == inside] or list(opened.models)
    raise UserError(f"{path}: no bundle, and no file of one")


def _check(threads: Sequence[int], seconds: float, rounds: int) -> None:
    cores = _cores()
    if not threads:
        raise UserError(f"no number of threads; allowed is 1 to {cores}")
    for count in threads:
        if not 1 <= count <= cores:
            raise UserError(f"threads {count} is out of range: this machine allows 1 to {cores}")
    if not 0 < seconds <= 3600:
        raise UserError(f"seconds {seconds:g} is out of range: allowed is above 0 and at most 3600")
    if rounds < 1:
        raise UserError(f"rounds {rounds} is out of range: allowed is 1 or more")


@contextlib.contextmanager
def _started(bundle: Bundle, model: ModelFile, threads: int) -> Iterator[_Contestant]:
    """The process of one file, loaded and run once; ended when the block is left."""
    source = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-m", "mobilenets.deploy.worker", model.runtime, str(bundle.path / model.path)]
    command += [str(bundle.spec.resolution), str(threads)]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        ) as process,
    ):
        try:
            contestant = _Contestant(model, threads, process, stderr)
            contestant.start = contestant.read()
            yield contestant
        finally:
            process.kill()


def _row(contestant: _Contestant) -> dict[str, Any]:
    times = np.concatenate(contestant.rounds)
    medians = [float(np.median(times)) for times in contestant.rounds]
    median = float(np.median(times))
    start = contestant.start
    return {
        "runtime": contestant.model.runtime,
        "precision": contestant.model.precision,
        "path": contestant.model.path,
        "threads": contestant.threads,
        "median_ms": median,
        **{f"p{q}_ms": float(np.percentile(times, q)) for q in (90, 95, 99)},
        "runs": len(times),
        "round_medians_ms": medians,
        "spread": (max(medians) - min(medians)) / median,
        "cold_start_ms": start["load_ms"] + start["first_run_ms"],
        "load_ms": start["load_ms"],
        "first_run_ms": start["first_run_ms"],
        "size_mb": contestant.model.size_mb,
        "peak_rss_bytes": contestant.peak_rss_bytes,
        "start_rss_bytes": start["start_rss_bytes"],
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
