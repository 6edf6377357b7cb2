"""`export --to auto`: every runtime that runs here is tried, and the fastest is what the Bundle holds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..console import say
from ..errors import UserError
from .bench import bench, why_not
from .bundle import open_bundle
from .export import Source, say_files, write_bundle
from .plan import check_installed, missing_library, plan_files
from .runtimes import FLOAT32, RUNTIMES, Runtime, runtime

SECONDS = 2.0  # of measuring each file
THREADS = 1


def export_fastest(
    source: Source, target: Path, precisions: Sequence[str], others: Sequence[tuple[Runtime, str]]
) -> dict[str, Any]:
    """Writes the Bundle of the fastest runtime on this machine, and of `others` with it. Returns the `export` JSON.

    Every runtime that is installed and runs here writes float32 and each of `precisions` that it has; each file is held
    to the golden images, then all are measured in turns. The runtime of the fastest file is kept, that file first, so
    that it is the one that `predict` and `evaluate` open. The answer's `auto` lists what was tried and what was not;
    it is stored in measured.json too.
    """
    not_tried = {name: reason for name in RUNTIMES if (reason := why_untried(name))}
    tried = [runtime(name) for name in RUNTIMES if name not in not_tried]
    for name, reason in not_tried.items():
        say(f"{name}: not tried, {reason}")
    if not tried:
        raise UserError(f"auto: no runtime runs here: {'; '.join(not_tried.values())}")
    plan = plan_files(tried, tuple(dict.fromkeys((FLOAT32, *precisions))))
    check_installed(plan)
    failed: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "bundle"
        tried_files = write_bundle(everything, source, plan, failed)
        for (name, precision), reason in failed.items():
            say(f"{name} {precision}: left out, {reason}")
        measured = bench(everything, threads=(THREADS,), seconds=SECONDS)
    fastest = measured["files"][0]
    best = fastest["runtime"]
    kept = [(each, precision) for each, precision in plan if each.name == best and (best, precision) not in failed]
    kept.sort(key=lambda file: file[1] != fastest["precision"])
    kept += [(each, precision) for each, precision in others if each.name != best]
    files = write_bundle(target, source, kept)
    say_files(target, files)
    errors = {row["path"]: row["max_abs_error"] for row in tried_files}
    auto = {
        "chosen": fastest["path"],
        "machine": measured["machine"],
        "threads": THREADS,
        "tried": [
            {key: row[key] for key in ("runtime", "precision", "path", "median_ms", "ratio", "spread", "size_mb")}
            | {"max_abs_error": errors[row["path"]]}
            for row in measured["files"]
        ],
        "not_tried": [{"runtime": name, "precision": None, "reason": reason} for name, reason in not_tried.items()]
        + [{"runtime": name, "precision": which, "reason": reason} for (name, which), reason in failed.items()],
    }
    open_bundle(target).store("auto", auto)
    return {"bundle": str(target), "files": files, "auto": auto}


def why_untried(name: str) -> str | None:
    """Why a runtime's files cannot be written here, or not measured; None where they can."""
    return why_not(name) or missing_library(runtime(name))
