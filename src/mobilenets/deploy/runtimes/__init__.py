"""The runtimes a Bundle can hold files for: one file of this package each, found here by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from ...errors import UserError
from ...extras import require as require  # what every runtime imports its library by

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from ...arch.spec import Spec

    class Shippable(nn.Module):
        """What a file is made from: `wrap.Shipped`, or for a precision of `Runtime.calibrated` its quantised form.

        On the CPU and in evaluation mode, fit for torch.export: uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs).
        """

        spec: Spec


FLOAT32, FLOAT16, BFLOAT16, WEIGHTS8, INT8 = "float32", "float16", "bfloat16", "weights8", "int8"
STORED_IN = {WEIGHTS8: INT8}  # the type of a file's weights where the precision is not called by it
COMPUTED_IN = {WEIGHTS8: FLOAT32}  # and the type that it computes in


class Session(Protocol):
    """A model file opened in its own runtime."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs), any N of at least 1."""


class Ran(TypedDict):
    """What a runtime made of a file on this machine.

    `operators` counts what runs by kind, as the runtime calls it after its own fusions. `precisions` counts the
    convolutions and matrix products by the type they compute in. `notes` say in words what the file's name does not
    promise: a type that fell back to another, operators that the fast kernels did not take, quantisation left unfused.
    """

    operators: dict[str, int]
    precisions: dict[str, int]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How one runtime's files are written and run. Nothing here imports the runtime before it is used.

    `write(module, folder, precision, properties)` writes the file (and whatever belongs to it) into the folder, the
    same bytes each time, and returns the path of the file to open and what the bundle records about it.
    `open(path, threads)` opens that file; threads None leaves the number to the runtime. It raises UserError, naming
    the file, when the file is broken or does not keep the Bundle's input and output contract.
    `examples(manifest, path)` are complete programs that predict with the file: name -> source; example_NAME.py, where
    there is one, needs the runtime's own package (ExecuTorch's brings torch) and nothing of this one.
    `extra` installs what is needed (empty: this package has it), `packages` are the distributions whose versions a
    bundle records, `writes_with` the modules that writing a file imports, `runs_with` those that running one does.
    `precisions`, the first where nobody asks; of those in `calibrated` the file is made from the network that was
    quantised with calibration images, of the others from the float one. weights8 rounds that one's weights alone.
    `stored(path)` counts the numbers that a file holds as weights by their type ({"int8": 3400000, "float32": 1000});
    None where the format does not tell.
    `ran(path, threads)` says what really runs; None where the runtime does not tell. `bench` asks last.
    `complete(folder, manifest)`, where there is one, adds to the runtime's folder what its files share, once all are
    written; `manifest` has everything up to `models`.
    `elsewhere` says why files cannot be run on this machine (Core ML outside macOS); None where they can.
    `slow_int8` says why int8 may be slower than float32 on some CPUs; None where nothing is known to make it so.
    `unmeasured` says why the speed of files that run here is none worth measuring; None where it is.
    """

    name: str
    extra: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    writes_with: tuple[str, ...]
    runs_with: tuple[str, ...]
    write: Callable[[Any, Path, str, Mapping[str, str]], tuple[Path, dict[str, Any]]]
    open: Callable[[Path, int | None], Session]
    examples: Callable[[Mapping[str, Any], str], dict[str, str]]
    calibrated: tuple[str, ...] = (INT8,)
    stored: Callable[[Path], dict[str, int]] | None = None
    ran: Callable[[Path, int], Ran] | None = None
    complete: Callable[[Path, Mapping[str, Any]], None] | None = None
    elsewhere: Callable[[], str | None] = lambda: None
    slow_int8: str | None = None
    unmeasured: str | None = None


AUTO = "auto"  # in place of a runtime's name: whichever is fastest here
RUNTIMES = {  # name of the file in this package, and of the Runtime in it
    "onnx": "ONNX",
    "openvino": "OPENVINO",
    "litert": "LITERT",
    "executorch": "EXECUTORCH",
    "coreml": "COREML",
    "ncnn": "NCNN",
    "torch": "TORCH",
    "web": "WEB",
}


def runtime(name: str) -> Runtime:
    """The runtime of that name. Raises UserError naming the known ones."""
    if name not in RUNTIMES:
        raise UserError(f"unknown runtime {name!r}; allowed: {', '.join(RUNTIMES)}, {AUTO}")
    found: Runtime = getattr(import_module(f"{__package__}.{name}"), RUNTIMES[name])
    return found


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed version of each distribution; those that are not installed are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def one_line(error: Exception) -> str:
    """A library's error in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def in_batches(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int = 1) -> np.ndarray:
    """`run` over images of any number where the file takes `size` at a time; the last batch is filled with its last."""
    import numpy as np

    logits = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        missing = size - len(batch)
        whole = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
        logits.append(run(np.ascontiguousarray(whole))[: len(batch)])
    return np.concatenate(logits)
