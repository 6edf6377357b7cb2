"""The process in which `bench` runs one file: `python -m mobilenets.deploy.worker RUNTIME FILE SIZE THREADS CORES`.

It keeps to the processors CORES (numbers between commas; empty: wherever the system puts it) and imports the runtime
and numpy and nothing else, so that its peak memory is that of the file. It answers lines of JSON on stdout: one when
the file is loaded and has run once; then to each line `{"seconds": S}` on stdin the times of one round, and to
`{"ran": true}` what the runtime made of the file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .machine import pin

if TYPE_CHECKING:
    from .runtimes import Ran


def main(name: str, file: str, size: int, threads: int, cores: str) -> None:
    """Loads, runs once, then answers each line of stdin until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a runtime prints goes to stderr
    if cores:
        pin(map(int, cores.split(",")))  # before a runtime counts the processors
    import numpy as np

    from .runtimes import require, runtime

    chosen = runtime(name)
    require(chosen.extra, *chosen.runs_with)
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    before = peak_rss_bytes()
    started = time.perf_counter()
    session = chosen.open(Path(file), threads)
    loaded = time.perf_counter()
    session.run(image)
    ready = time.perf_counter()
    answer(answers, load_ms=1e3 * (loaded - started), first_run_ms=1e3 * (ready - loaded), start_rss_bytes=before)
    for line in sys.stdin:
        request = json.loads(line)
        if "ran" in request:
            answer(answers, **_ran(chosen.ran, Path(file), threads))
        else:
            times = times_ms(lambda: session.run(image), request["seconds"])
            answer(answers, times_ms=times, peak_rss_bytes=peak_rss_bytes())


def times_ms(run: Callable[[], object], seconds: float) -> list[float]:
    """How long each run took in a round of so many seconds; one before them is not counted: others had the caches."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begun))
    return times


def _ran(tell: Callable[[Path, int], Ran] | None, file: Path, threads: int) -> dict[str, Any]:
    from .runtimes import one_line

    if tell is None:
        return {"ran": None, "reason": "this runtime does not tell"}
    try:
        return {"ran": tell(file, threads), "reason": None}
    except MemoryError:
        raise
    except Exception as error:  # of any library; the times that were measured stand
        return {"ran": None, "reason": one_line(error)}


def peak_rss_bytes() -> int:
    """The most memory this process has held. Linux keeps the parent's peak in getrusage, so /proc is read there."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def answer(stream: TextIO, **values: Any) -> None:
    """Writes one line of JSON."""
    stream.write(json.dumps(values) + "\n")
    stream.flush()


if __name__ == "__main__":
    from mobilenets.errors import UserError

    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    except UserError as error:  # its line alone is what `bench` reports
        sys.exit(str(error))
