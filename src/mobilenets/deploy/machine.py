"""The machine that figures are taken on: what it is, and which of its processors a measurement gets."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CPUS = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
TOLD = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm", "bf16")
"""Instructions that decide how fast each precision is, as Linux names them."""


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpu": cpu_name(),
        "instructions": instructions(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The processor as the system names it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Those of TOLD that the processor has; empty where the system does not tell. Processors of one name may differ."""
    words = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [name for name in TOLD if name in words]


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best_cores(count: int) -> tuple[int, ...] | None:
    """The `count` processors to measure on; None where the system pins no process (macOS, Windows).

    The fastest kind where there are several kinds, no two hardware threads of one core while there is another core, and
    rather the last than the first, which answers most interrupts.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    shared: dict[str, int] = {}  # hardware threads of each core that stand before this one
    order = []
    for number in allowed:
        core = _read(CPUS / f"cpu{number}" / "topology" / "thread_siblings_list") or str(number)
        capacity = int(_read(CPUS / f"cpu{number}" / "cpu_capacity") or 0)
        order.append((shared.setdefault(core, 0), -capacity, -number))
        shared[core] += 1
    return tuple(sorted(-number for _, _, number in sorted(order)[:count]))


def pin(numbers: Iterable[int]) -> None:
    """Keeps this process, and the threads that it will start, on these processors."""
    os.sched_setaffinity(0, set(numbers))


def clock_mhz(numbers: Iterable[int]) -> float | None:
    """The mean clock of these processors now; None where the machine does not tell."""
    found = [_read(CPUS / f"cpu{number}" / "cpufreq" / "scaling_cur_freq") for number in numbers]
    kilohertz = [int(value) for value in found if value]
    return sum(kilohertz) / len(kilohertz) / 1e3 if kilohertz else None


def throttled(numbers: Iterable[int]) -> int | None:
    """How often these processors were slowed down for heat since the start; None where the machine does not tell."""
    found = [_read(CPUS / f"cpu{number}" / "thermal_throttle" / "core_throttle_count") for number in numbers]
    counts = [int(value) for value in found if value]
    return sum(counts) if counts else None


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor; empty where it does not."""
    with contextlib.suppress(OSError):
        for line in CPUINFO.read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return ""


def _read(path: Path) -> str:
    """The file's words; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
