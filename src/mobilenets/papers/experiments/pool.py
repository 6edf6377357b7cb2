"""Several worker processes at once, one core each: what an experiment's trainings run in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...errors import UserError
from .worker import USER_ERROR

MOST = 8  # trainings at once where nobody says: each holds about a gigabyte
_LOOK = 0.05  # seconds between looks at the processes
_SHOWN = 2000  # characters of a broken worker's last words


def default_workers() -> int:
    """One for each core that this process may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST, cores)


@dataclass(frozen=True, slots=True)
class Job:
    """A job of `worker`: what to do, with which arguments. What it says is appended to `log`."""

    name: str
    do: str
    arguments: dict[str, Any]
    log: Path


@dataclass(frozen=True, slots=True)
class Done:
    """A job with its answer, and the seconds its process took."""

    job: Job
    answer: dict[str, Any]
    seconds: float


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[str]
    answer: IO[str]
    began: float


def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[Done]:
    """Runs the jobs in their order, `workers` at a time, and yields each as it ends.

    Whatever ends the iteration (Ctrl-C, an error, a caller that leaves) ends the processes. Raises UserError with what
    a worker says of the user's input, RuntimeError with the last lines of one that broke.
    """
    waiting, running = list(jobs), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(0)))
            ended = [one for one in running if one.process.poll() is not None]
            if not ended:
                time.sleep(_LOOK)
            for one in ended:
                running.remove(one)
                yield _finished(one)
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
            _close(one)


def _start(job: Job) -> _Running:
    """A worker in a session of its own, so that Ctrl-C comes to this process alone; one thread, so that two share."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    answer = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in _close
    with open(job.log, "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mobilenets.papers.experiments.worker"],
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": _path()},
            start_new_session=True,
        )
    one = _Running(job, process, answer, time.perf_counter())
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended at once; `_finished` says how
        process.stdin.write(json.dumps({"do": job.do, "arguments": job.arguments}) + "\n")
        process.stdin.flush()  # and stays open: its end is the worker's
    return one


def _path() -> str:
    """The worker's PYTHONPATH: this very package first."""
    source = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))


def _finished(one: _Running) -> Done:
    status = one.process.wait()
    seconds = time.perf_counter() - one.began
    one.answer.seek(0)
    text = one.answer.read()
    _close(one)
    if status == 0:
        return Done(one.job, json.loads(text), seconds)
    said = one.job.log.read_text(encoding="utf-8", errors="replace").rstrip()
    last = said.rpartition("\n")[2]
    if status == USER_ERROR and last.startswith("error: "):
        raise UserError(f"{one.job.name}: {last.removeprefix('error: ')}")
    raise RuntimeError(f"{one.job.name} ended with status {status}; {one.job.log} ends\n{said[-_SHOWN:]}")


def _close(one: _Running) -> None:
    one.answer.close()
    if one.process.stdin is not None:
        with suppress(OSError):
            one.process.stdin.close()
