"""One file with one number of threads, in a process of its own: what `bench` and the project's benchmarks measure."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from .energy import Meter
from .machine import best_cores

SOURCE = str(Path(__file__).resolve().parents[2])


@dataclass
class Contestant:
    """A process that answers rounds; `start` is what it said when it had run once.

    `rounds` are the milliseconds of each run of each round that counts, `joules` what the machine spent in them.
    """

    name: str
    threads: int
    process: subprocess.Popen[str]
    stderr: IO[bytes]
    start: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)
    joules: float | None = None
    peak_rss_bytes: int = 0

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request. Raises UserError, with the process's last words, when it died."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # read() says why
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """The process's next answer. Raises UserError, with its last words, when it died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)  # it closes its stdout before it has said its last words
            self.stderr.seek(0)
            words = self.stderr.read().decode(errors="replace").strip().splitlines()
            raise UserError(f"{self.name} could not be run: {words[-1] if words else 'its process died'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, seconds: float, meter: Meter | None = None, *, counts: bool = True) -> list[float]:
        """The milliseconds of every run in a round of so many seconds; kept where it counts."""
        before = meter.read() if meter else ()
        answer = self.ask(seconds=seconds)
        if meter and counts:
            self.joules = (self.joules or 0.0) + meter.joules(before, meter.read())
        self.peak_rss_bytes = answer["peak_rss_bytes"]
        times: list[float] = answer["times_ms"]
        if counts:
            self.rounds.append(times)
        return times

    def ran(self) -> dict[str, Any]:
        """What really ran: `{"ran": ...}` as `Runtime.ran` says, null where it does not tell, and why as `reason`."""
        return self.ask(ran=True)


@contextlib.contextmanager
def started(
    name: str, command: Sequence[str], threads: int, environment: dict[str, str] | None = None
) -> Iterator[Contestant]:
    """A process that speaks as deploy/worker.py does, ready for rounds; ended when the block is left."""
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            [*command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)} | (environment or {}),
        ) as process,
    ):
        try:
            contestant = Contestant(name, threads, process, stderr)
            contestant.start = contestant.read()
            yield contestant
        finally:
            process.kill()


def worker_command(runtime: str, file: Path, size: int, threads: int) -> list[str]:
    """The command of a worker for that file: images of `size` pixels, pinned to as many processors as threads."""
    cores = ",".join(map(str, best_cores(threads) or ()))
    return [sys.executable, "-m", "mobilenets.deploy.worker", runtime, str(file), str(size), str(threads), cores]


def worker_environment() -> dict[str, str]:
    """What a worker's environment needs to find this package."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))}
