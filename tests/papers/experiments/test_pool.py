"""Worker processes: their answers, their errors, and that none outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobilenets.errors import UserError
from mobilenets.papers.experiments.pool import Job, run_jobs

NO_DATA = {
    "data": "no/such/folder",
    "model": "mobilenet_v1",
    "width": 0.25,
    "resolution": 32,
    "total_stride": 8,
    "recipe": "small_pictures",
    "set": [],
    "precision": "float32",
    "seconds": 0.1,
}


@pytest.mark.slow
def test_what_a_worker_says_of_the_users_input_is_one_line(tmp_path: Path) -> None:
    job = Job("time-it", "time", NO_DATA, tmp_path / "logs" / "log.txt")
    with pytest.raises(UserError, match=r"^time-it: no/such/folder: no such") as refused:
        list(run_jobs([job], 1))
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_worker_that_breaks_is_quoted(tmp_path: Path) -> None:
    job = Job("broken", "time", {"data": "x", "no_such_argument": 1}, tmp_path / "log.txt")
    with pytest.raises(RuntimeError, match=r"(?s)broken ended with status 1.*no_such_argument"):
        list(run_jobs([job], 1))


def test_a_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """The parent is killed, so it can end nobody: stdin's end has to."""
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', "
        "'import sys, threading, time; from mobilenets.papers.experiments import worker; "
        "threading.Thread(target=worker._end_with_giver, daemon=True).start(); time.sleep(600)'],"
        " stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    end = time.monotonic() + 60
    while _alive(child):
        assert time.monotonic() < end, "the worker goes on without its parent"
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
