"""`bench`: how fast the files of a bundle are on this machine, in processes of their own, in turns."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..console import progress, say, warn
from ..errors import UserError
from ..extras import absent
from .bundle import Bundle, ModelFile, is_bundle, open_bundle
from .contestant import Contestant, started, worker_command, worker_environment
from .energy import Meter, meter
from .machine import best_cores, clock_mhz, cores, machine, throttled
from .runtimes import COMPUTED_IN, FLOAT32, INT8, Ran, runtime
from .sustained import PIECES
from .sustained import sustained as sustained_row

ROUNDS = 5
SECONDS, SUSTAINED_SECONDS = 3.0, 60.0  # of each file, where nobody says
NOISY = 0.10  # a spread of the rounds' medians beyond this is worth a warning


@dataclass(frozen=True)
class Entry:
    """A file and its process."""

    model: ModelFile
    contestant: Contestant


def bench(
    bundle: str | os.PathLike[str],
    *,
    threads: Sequence[int] = (1,),
    seconds: float | None = None,
    rounds: int = ROUNDS,
    sustained: bool = False,
) -> dict[str, Any]:
    """Latency at batch 1 from uint8 input to output, memory, energy and size of every file. Returns the `bench` JSON.

    Each file runs in a fresh process with exactly so many threads, on as many processors. `seconds` of measuring per
    file (3) are cut into `rounds`, taken in turns, so that a machine that slows down slows all alike; a round before
    them warms up. With `sustained` each file runs for its `seconds` (60) at one go instead, with no round of warm-up,
    and its row says whether it slowed down. A file whose runtime is not installed, or does not run on this machine, is
    listed under `not_run`. `bundle` may also be one model file of a bundle. The result is stored in measured.json.
    """
    opened, models = models_of(bundle)
    seconds = seconds if seconds is not None else SUSTAINED_SECONDS if sustained else SECONDS
    check(threads, seconds, rounds)
    chosen, not_run = _split(models)
    measuring, no_energy = meter()
    counts = tuple(dict.fromkeys(threads))
    with _Starting(opened, not_run) as starting:
        if sustained:
            rows = _long(starting, chosen, counts, seconds, measuring)
        else:
            rows = _in_turns(starting, chosen, counts, seconds, rounds, measuring)
    rows = ranked(rows)
    note_slow_int8(rows)
    if not sustained:
        _warn_of_noise(rows)
    result = {
        "bundle": str(bundle),
        "device": None,
        "machine": machine(),
        "batch": 1,
        "rounds": PIECES if sustained else rounds,
        "seconds": seconds,
        "energy_absent": no_energy,
        "files": rows,
        "not_run": not_run,
    }
    opened.store("sustained" if sustained else "bench", result | {"bundle": opened.spec.name})
    return result


def models_of(reference: str | os.PathLike[str]) -> tuple[Bundle, list[ModelFile]]:
    """The bundle, and its files or the one that is meant. Raises UserError where there is none."""
    path = Path(reference)
    around = [folder for folder in path.absolute().parents if is_bundle(folder)]
    if path.is_dir() and not around:
        opened = open_bundle(path)
        return opened, list(opened.models)
    if not path.exists():
        raise UserError(f"{path}: no such bundle")
    if not around:
        raise UserError(f"{path}: no bundle, and no file of one")
    opened = open_bundle(around[0])
    inside = path.absolute().relative_to(around[0]).as_posix()  # a model may be a folder, too
    return opened, [model for model in opened.models if model.path == inside] or list(opened.models)


def check(threads: Sequence[int], seconds: float, rounds: int, most_threads: int | None = None) -> None:
    """Raises UserError for settings out of range; `most_threads` of another machine than this one."""
    most = cores() if most_threads is None else most_threads
    if not threads:
        raise UserError(f"no number of threads; allowed is 1 to {most}")
    for count in threads:
        if not 1 <= count <= most:
            where = "this machine" if most_threads is None else "the device"
            raise UserError(f"threads {count} is out of range: {where} allows 1 to {most}")
    if not 0 < seconds <= 3600:
        raise UserError(f"seconds {seconds:g} is out of range: allowed is above 0 and at most 3600")
    if rounds < 1:
        raise UserError(f"rounds {rounds} is out of range: allowed is 1 or more")


def _split(models: Iterable[ModelFile]) -> tuple[list[ModelFile], list[dict[str, Any]]]:
    """The files that can run here, and rows for the others. Raises UserError where there is none."""
    chosen, not_run = [], []
    for model in models:
        reason = why_not(model.runtime)
        if reason is None:
            chosen.append(model)
        else:
            say(f"{model.path}: not run, {reason}")
            not_run.append(not_run_row(model, reason))
    if not chosen:
        raise UserError(f"none of the files runs here: {not_run[0]['path']}: {not_run[0]['reason']}")
    return chosen, not_run


def not_run_row(model: ModelFile, reason: str) -> dict[str, Any]:
    """What the answer says of a file that was not run."""
    return {"runtime": model.runtime, "precision": model.precision, "path": model.path, "reason": reason}


def why_not(name: str) -> str | None:
    """Why a runtime's files cannot be measured on this machine; None where they can."""
    chosen = runtime(name)
    return chosen.unmeasured or chosen.elsewhere() or absent(chosen.extra, *chosen.runs_with)


class _Starting(contextlib.ExitStack):
    """Starts the processes of files and ends them all when the block is left.

    A file that does not start, one in a type that this processor does not have for one, is put into `not_run`.
    """

    def __init__(self, bundle: Bundle, not_run: list[dict[str, Any]]) -> None:
        super().__init__()
        self.bundle, self.not_run, self.reason = bundle, not_run, ""

    def entries(self, models: Iterable[ModelFile], threads: int) -> list[Entry]:
        """Those of the files that have started."""
        found = []
        for model in models:
            file = self.bundle.path / model.path
            command = worker_command(model.runtime, file, self.bundle.spec.resolution, threads)
            process = started(model.path, command, threads, worker_environment())
            try:
                found.append(Entry(model, self.enter_context(process)))
            except UserError as error:
                self.reason = str(error)
                row = not_run_row(model, self.reason)
                if row not in self.not_run:
                    warn(self.reason)
                    self.not_run.append(row)
        return found

    def check(self, rows: Sequence[Any]) -> None:
        """Raises UserError, the last file's, where nothing has started."""
        if not rows:
            raise UserError(self.reason)


def _in_turns(
    starting: _Starting,
    models: Sequence[ModelFile],
    threads: Sequence[int],
    seconds: float,
    rounds: int,
    meter: Meter | None,
) -> list[dict[str, Any]]:
    entries = [entry for count in threads for entry in starting.entries(models, count)]
    starting.check(entries)
    with progress() as bar:
        task = bar.add_task("bench", total=(rounds + 1) * len(entries), note="")
        for number in range(rounds + 1):
            for entry in entries if number % 2 else reversed(entries):  # nobody always follows the same one
                times = entry.contestant.run(seconds / rounds, meter, counts=number > 0)
                bar.update(task, advance=1, note=f"{entry.model.path} {np.median(times):.2f} ms")
    return [row_of(entry) for entry in entries]


def _long(
    starting: _Starting, models: Sequence[ModelFile], threads: Sequence[int], seconds: float, meter: Meter | None
) -> list[dict[str, Any]]:
    """Each file by itself, `seconds` at one go but for a glance at the clock between pieces."""
    rows = []
    with progress() as bar:
        task = bar.add_task("bench", total=len(models) * len(threads) * PIECES, note="")
        for count, model in [(count, model) for count in threads for model in models]:
            on = best_cores(count) or ()
            for entry in starting.entries([model], count):
                clocks, before = [], throttled(on)
                for _ in range(PIECES):
                    times = entry.contestant.run(seconds / PIECES, meter)
                    clocks.append(clock_mhz(on))
                    bar.update(task, advance=1, note=f"{model.path} {np.median(times):.2f} ms")
                after = throttled(on)
                events = None if before is None or after is None else after - before
                rows.append(row_of(entry) | {"sustained": sustained_row(entry.contestant.rounds, clocks, events)})
            starting.close()
    starting.check(rows)
    return rows


def row_of(entry: Entry) -> dict[str, Any]:
    """What was measured of one file."""
    model, contestant = entry.model, entry.contestant
    times = np.concatenate(contestant.rounds)
    medians = [float(np.median(times)) for times in contestant.rounds]
    median = float(np.median(times))
    start = contestant.start
    what = contestant.ran()
    if what["ran"]:
        what["ran"]["notes"] += promised(what["ran"], model.precision)
    on = best_cores(contestant.threads)
    return {
        "runtime": model.runtime,
        "precision": model.precision,
        "path": model.path,
        "threads": contestant.threads,
        "cores": None if on is None else list(on),
        "median_ms": median,
        **{f"p{q}_ms": float(np.percentile(times, q)) for q in (90, 95, 99)},
        "average_ms": float(np.mean(times)),
        "runs": len(times),
        "round_medians_ms": medians,
        "spread": (max(medians) - min(medians)) / median,
        "cold_start_ms": start["load_ms"] + start["first_run_ms"],
        "load_ms": start["load_ms"],
        "first_run_ms": start["first_run_ms"],
        "size_mb": model.size_mb,
        "peak_rss_bytes": contestant.peak_rss_bytes,
        "start_rss_bytes": start["start_rss_bytes"],
        "file_rss_bytes": contestant.peak_rss_bytes - start["start_rss_bytes"],
        "joules_per_run": None if contestant.joules is None else contestant.joules / len(times),
        "ran": what["ran"],
        "ran_absent": what["reason"],
        "sustained": None,
    }


def promised(ran: Ran, precision: str) -> list[str]:
    """A note where none of the products computes in the type that the file's name promises."""
    wanted = COMPUTED_IN.get(precision, precision)
    if not ran["precisions"] or wanted in ran["precisions"]:
        return []
    return [f"nothing is computed in {wanted}, but in {' and '.join(ran['precisions'])}"]


def ranked(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, the fastest first among those with as many threads, each with its `ratio` to that one."""
    ordered = sorted(rows, key=lambda row: (row["threads"], pace(row)))
    fastest: dict[int, float] = {}
    for row in ordered:
        row["ratio"] = pace(row) / fastest.setdefault(row["threads"], pace(row))
    return ordered


def note_slow_int8(rows: Iterable[dict[str, Any]]) -> None:
    """Says, and notes in its row, of each int8 file that is no faster than its runtime's float32 file, and why."""
    rows = list(rows)
    twins = {(row["runtime"], row["threads"]): row for row in rows if row["precision"] == FLOAT32}
    for row in rows:
        twin = twins.get((row["runtime"], row["threads"]))
        if row["precision"] != INT8 or twin is None or pace(row) < pace(twin):
            continue
        note = f"slower than float32 in the same runtime, {pace(row):.2f} against {pace(twin):.2f} ms"
        if why := runtime(row["runtime"]).slow_int8:
            note += f": {why}"
        if row["ran"]:
            row["ran"]["notes"].append(note)
        warn(f"{row['path']}, {row['threads']} threads: {note}")


def pace(row: dict[str, Any]) -> float:
    """The milliseconds that a row is ranked by: its median, where a device's tool states none its average."""
    return row["average_ms"] if row["median_ms"] is None else row["median_ms"]


def _warn_of_noise(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        if row["spread"] > NOISY:
            warn(
                f"{row['path']}, {row['threads']} threads: the rounds' medians differ by {row['spread']:.0%}; "
                "something else keeps this machine busy"
            )
