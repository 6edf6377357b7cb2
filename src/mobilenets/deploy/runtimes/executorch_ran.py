"""What ExecuTorch made of a file: the trace of a run, in which XNNPACK names each operator and its type."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from . import Ran

_PRODUCT = re.compile(r"Convolution|Fully Connected|Batch Matrix Multiply|Deconvolution")
_PRECISIONS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "QS8": "int8", "QC8": "int8", "QU8": "uint8"}


def ran(lib: Any, devtools: Any, data: bytes, inputs: tuple[Any, ...]) -> Ran:
    """Loads the program anew with tracing, runs it once on `inputs` and reads the trace."""
    program = lib._load_program_from_buffer(data, enable_etdump=True)
    program.load_method("forward")(inputs)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.etdp"
        program.write_etdump_result_to_file(str(trace), str(Path(folder) / "buffers.bin"))
        blocks = devtools.Inspector(etdump_path=str(trace)).event_blocks
    events = [event for block in blocks if block.name == "Execute" for event in block.events]
    return of_names([event.name for event in events if event.is_delegated_op], [event.name for event in events])


def of_names(delegated: list[str], names: list[str]) -> Ran:
    """The answer from the names of XNNPACK's operators and of all events."""
    kinds = [re.sub(r" #\d+$", "", name) for name in delegated]
    others = Counter(name.removeprefix("native_call_") for name in names if name.startswith("native_call_"))
    precisions: Counter[str] = Counter()
    for kind in kinds:
        if _PRODUCT.match(kind):
            types = [word for word in re.findall(r"\w+", kind) if word in _PRECISIONS]
            precisions[_PRECISIONS[types[-1]] if types else "unknown"] += 1
    notes = []
    if others:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
        notes.append(f"not taken by XNNPACK: {listed}")
    return {
        "operators": dict(sorted((Counter(kinds) + others).items())),
        "precisions": dict(precisions),
        "notes": notes,
    }
