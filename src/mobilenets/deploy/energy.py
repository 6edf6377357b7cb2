"""Energy where the machine counts it: Linux' powercap counters (RAPL) of the whole processor package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """The counters of all packages, in microjoules, each with the value after which it starts at 0 again."""

    counters: tuple[tuple[Path, int], ...]

    def read(self) -> tuple[int, ...]:
        """What the counters say now."""
        return tuple(int(path.read_text()) for path, _ in self.counters)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """What was spent between two readings that lie less than a turn of the counter apart."""
        spent = 0
        for (_, turn), first, last in zip(self.counters, before, after, strict=True):
            spent += last - first if last >= first else last - first + turn
        return spent / 1e6


def meter() -> tuple[Meter | None, str | None]:
    """The machine's meter, or None and why there is none."""
    counters = []
    try:
        for zone in sorted(POWERCAP.glob("*:*")):
            if not (zone / "name").read_text().startswith("package"):
                continue  # cores, memory and graphics are parts of a package
            energy = zone / "energy_uj"
            int(energy.read_text())
            counters.append((energy, int((zone / "max_energy_range_uj").read_text())))
    except PermissionError:
        return None, "forbidden: the counters in /sys/class/powercap are root's"
    except (OSError, ValueError):
        return None, "unreadable: the counters in /sys/class/powercap give no numbers"
    return (Meter(tuple(counters)), None) if counters else (None, "absent: this machine counts no energy")
