"""`bench --device`: a Bundle's files in the runtimes' own benchmark programs on a phone or a board."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...console import progress, say
from ...errors import UserError
from ..bench import SECONDS, check, models_of, not_run_row, ranked
from ..bundle import Bundle, ModelFile
from .connection import ANDROID, Device, device_of, folder_on
from .tools import RUNS, TOOLS, WARM_UP_RUNS, Job, Tool, tool_of

MOST_RUNS = 100_000
_FIRST = 20  # runs from which the number that fills the time is reckoned


def bench_device(
    bundle: str | os.PathLike[str],
    device: str,
    *,
    threads: Sequence[int] = (1,),
    seconds: float | None = None,
    binaries: Sequence[str | os.PathLike[str]] = (),
) -> dict[str, Any]:
    """What a bundle's files cost on `device`, `adb:SERIAL` or `ssh:HOST`. Returns the `bench` JSON.

    Each file is copied there and run by its runtime's own program for about `seconds` (3), after its warm-up.
    `binaries` are such programs built for the device, told apart by their names and copied there; without one the
    device's own is taken, from its PATH or /data/local/tmp. Files of other runtimes are listed under `not_run`. What
    the program does not state is None. The result is stored in measured.json under the device's model, not its serial
    number or host name.
    """
    opened, models = models_of(bundle)
    seconds = SECONDS if seconds is None else seconds
    local = _by_tool([Path(binary) for binary in binaries])
    reached = device_of(device)
    chosen = [(model, tool) for model in models if (tool := tool_of(model.runtime))]
    not_run = [
        not_run_row(model, "no benchmark program of its runtime runs on a device")
        for model in models
        if tool_of(model.runtime) is None
    ]
    if not chosen:
        raise UserError(
            f"{bundle}: none of its files is for {', '.join(tool.runtime for tool in TOOLS)}; export it to one of them"
        )
    machine = _machine(reached)
    check(threads, seconds, 1, machine["cores"])
    rows = []
    with folder_on(reached) as folder, progress() as bar:
        programs = {
            tool.program: _program(reached, tool, local.get(tool.program), folder)
            for tool in dict.fromkeys(tool for _, tool in chosen)
        }
        counts = tuple(dict.fromkeys(threads))
        task = bar.add_task("bench", total=len(chosen) * len(counts), note="")
        for place, (model, tool) in enumerate(chosen):
            file = _copy(reached, opened, model, tool, f"{folder}/{place}")
            for count in counts:
                bar.update(task, note=f"{model.path}, {count} threads")
                job = Job(programs[tool.program], file, opened.spec.resolution, count, seconds)
                rows.append(_row(model, count, _measured(reached, tool, model, job)))
                bar.update(task, advance=1)
    for row in not_run:
        say(f"{row['path']}: not run, {row['reason']}")
    result = {
        "bundle": str(bundle),
        "device": device,
        "machine": machine,
        "batch": 1,
        "rounds": 1,
        "seconds": seconds,
        "energy_absent": "absent: the programs measure none",
        "files": ranked(rows),
        "not_run": not_run,
    }
    kept = result | {"bundle": opened.spec.name, "device": device.partition(":")[0]}
    opened.store("devices", opened.measured().get("devices", {}) | {machine["cpu"]: kept})
    return result


def _by_tool(binaries: Sequence[Path]) -> dict[str, Path]:
    """The local programs by the tool that their names say. Raises UserError for one that is none of the tools."""
    found = {}
    for path in binaries:
        named = [tool.program for tool in TOOLS if tool.program in path.name]
        if not named:
            raise UserError(f"{path}: its name says none of {', '.join(tool.program for tool in TOOLS)}")
        if not path.is_file():
            raise UserError(f"{path}: no such program")
        found[named[0]] = path
    return found


def _program(device: Device, tool: Tool, local: Path | None, folder: str) -> str:
    """Where the tool's program lies on the device."""
    if local is not None:
        there = f"{folder}/{tool.program}"
        device.copy(local, there)
        device.shell(f"chmod 755 {shlex.quote(there)}")
        return there
    found = device.shell(f"command -v {tool.program} || ls {ANDROID}/{tool.program}")
    if found.status or not found.said.strip():
        raise UserError(
            f"{device.name}: {tool.program} is not there; build it for the device and give it as --binary PATH"
        )
    return found.last_words


def _copy(device: Device, bundle: Bundle, model: ModelFile, tool: Tool, stem: str) -> str:
    """Copies what the tool needs of a model; returns where its main file lies."""
    main = ""
    for part in tool.needs(model):
        there = stem + Path(part).suffix
        device.copy(bundle.path / part, there)
        main = there if part == model.path or not main else main
    if not main:
        raise UserError(f"{model.path}: {tool.program} takes {' and '.join(tool.parts)}, and it has none")
    return main


def _measured(device: Device, tool: Tool, model: ModelFile, job: Job) -> dict[str, Any]:
    if tool.by_time:
        return _run(device, tool, model, job, 0)
    single = _run(device, tool, model, job, _FIRST)["average_ms"]
    runs = WARM_UP_RUNS + max(RUNS, int(1e3 * job.seconds / max(single, 1e-3)))
    return _run(device, tool, model, job, min(MOST_RUNS, runs))


def _run(device: Device, tool: Tool, model: ModelFile, job: Job, runs: int) -> dict[str, Any]:
    ended = device.shell(tool.command(job, runs), 20 * job.seconds + 300)
    if ended.status:
        raise UserError(f"{device.name}: {tool.program} failed on {model.path} ({ended.last_words})")
    found = tool.read(ended.said)
    if found is None:
        raise UserError(f"{device.name}: {tool.program} printed no times for {model.path} ({ended.last_words})")
    return found


def _row(model: ModelFile, threads: int, found: dict[str, Any]) -> dict[str, Any]:
    notes = found.pop("notes")
    return {
        "runtime": model.runtime,
        "precision": model.precision,
        "path": model.path,
        "threads": threads,
        "cores": None,
        "size_mb": model.size_mb,
        **found,
        "ran": {"operators": {}, "precisions": {}, "notes": notes} if notes else None,
        "ran_absent": None if notes else "the program does not tell",
        "sustained": None,
    }


def _machine(device: Device) -> dict[str, Any]:
    """What the device says of itself."""
    asked = device.shell(
        "getprop ro.product.model 2>/dev/null || cat /sys/firmware/devicetree/base/model 2>/dev/null || "
        "grep -m1 'model name' /proc/cpuinfo; echo; unset OMP_NUM_THREADS; nproc; uname -sm"
    )
    lines = [line.strip("\0 \t") for line in asked.said.splitlines() if line.strip("\0 \t")]
    if asked.status or len(lines) < 2 or not lines[-2].isdecimal():
        raise UserError(f"{device.name}: it does not say what it is ({asked.last_words})")
    name = re.sub(r"^model name\s*:\s*", "", lines[0]) if len(lines) > 2 else lines[-1]
    return {"cpu": name, "cores": int(lines[-2]), "system": lines[-1], "python": None}
