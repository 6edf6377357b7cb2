"""What ExecuTorch runs of a file: what was delegated when it was written, and what runs in single kernels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from . import Ran, require


def ran(path: Path, threads: int) -> Ran:
    """What the file's program says; a delegate does not say in which types it computes."""
    (serialize,) = require("executorch", "executorch.exir._serialize._program")
    loaded = serialize.deserialize_pte_binary(path.read_bytes())
    return told(getattr(loaded, "program", loaded))


def told(program: Any) -> Ran:
    """What a program's first method runs: calls of each delegate, and of each kernel."""
    (plan, *_) = program.execution_plan
    kernels: Counter[str] = Counter()
    delegates: Counter[str] = Counter()
    for instruction in (each.instr_args for chain in plan.chains for each in chain.instructions):
        if hasattr(instruction, "delegate_index"):
            delegates[plan.delegates[instruction.delegate_index].id] += 1
        elif hasattr(instruction, "op_index"):
            kernels[plan.operators[instruction.op_index].name.rpartition("::")[2]] += 1
    notes = []
    if delegates and kernels:
        left = ", ".join(f"{count} {name}" for name, count in kernels.most_common())
        notes.append(f"{sum(delegates.values())} parts by {' and '.join(delegates)}; between them run {left}")
    if not delegates:
        notes.append("nothing is delegated: every operator runs in a portable kernel")
    return {"operators": dict((delegates + kernels).most_common()), "precisions": {}, "notes": notes}
