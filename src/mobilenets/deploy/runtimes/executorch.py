"""ExecuTorch programs (.pte) for XNNPACK, run by ExecuTorch's Python runtime."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from . import FLOAT32, INT8, Ran, Runtime, in_batches, one_line, require

if TYPE_CHECKING:
    from . import Shippable

FILE = "model.pte"
EXTRA = "executorch"
_METHOD = "forward"
_UINT8, _FLOAT = 0, 6  # torch's ScalarType, as a program's metadata numbers its types
_MAGIC, _EXTENDED = b"ET12", b"eh00"


def write(
    module: Shippable, folder: Path, precision: str, properties: Mapping[str, str]
) -> tuple[Path, dict[str, Any]]:
    """Writes `folder`/model.pte: batch 1, XNNPACK, the same bytes each time. Returns its path and its facts.

    The format has no room for properties. The facts count the operators that XNNPACK runs and name those that
    ExecuTorch's portable kernels run.
    """
    with _quiet():
        exir, partitioner = require(
            EXTRA, "executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner"
        )
        from .executorch_graph import program_for_xnnpack

        size = module.spec.resolution
        edge = exir.to_edge_transform_and_lower(
            program_for_xnnpack(module, size),
            partitioner=[partitioner.XnnpackPartitioner()],
            compile_config=exir.EdgeCompileConfig(_skip_dim_order=True),  # its cast is ten times slower than the plain
        )
        facts = _delegation(edge.exported_program().graph_module)
        data = edge.to_executorch().buffer
    path = folder / FILE
    path.write_bytes(data)
    return path, {"backend": "xnnpack", "batch": 1} | facts


def _delegation(graph_module: Any) -> dict[str, Any]:
    """How many delegates there are, how many operators in them, and which operators are in none."""
    from torch import fx

    inside, outside, delegates = 0, Counter[str](), 0
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or not hasattr(node.target, "__name__"):
            continue
        if node.target.__name__ == "executorch_call_delegate":
            delegates += 1
            lowered = getattr(graph_module, node.args[0].target).original_module.graph_module
            assert isinstance(lowered, fx.GraphModule)
            inside += sum(each.op == "call_function" for each in lowered.graph.nodes)
        elif node.target.__name__ != "getitem":
            outside[node.target.__name__] += 1
    return {"delegates": delegates, "delegated": inside, "not_delegated": dict(sorted(outside.items()))}


class _Pool:
    """ExecuTorch's one pool of threads. Changing its size leaves every method that is loaded without its threads."""

    generation = 0

    @classmethod
    def resize(cls, lib: Any, threads: int | None) -> None:
        """Gives the pool so many threads, where it has others."""
        if threads is not None and lib._threadpool_get_thread_count() != threads:
            lib._unsafe_reset_threadpool(threads)
            cls.generation += 1


class ExecutorchSession:
    """A program in ExecuTorch's Python runtime, which takes and gives torch's tensors."""

    def __init__(self, path: Path, threads: int | None) -> None:
        self.threads = threads
        with _quiet():
            self.torch, self.lib = require(EXTRA, "torch", "executorch.extension.pybindings.portable_lib")
        self.data = _whole(path)
        with _quiet() as said:
            try:
                self._load()
            except MemoryError:
                raise
            except Exception as error:  # pybind11 turns the runtime's errors into RuntimeError and others
                reason = said() or one_line(error)
                raise UserError(f"{path}: not a program that ExecuTorch opens ({reason})") from None
        found, wanted = _contract(self.method), [(_UINT8, 4), (_FLOAT, 2)]
        if found != wanted:
            raise UserError(
                f"{path}: takes and gives (type, dimensions) {found}; a bundle's file takes and gives uint8 of 4 and "
                f"float32 of 2 dimensions: {wanted}"
            )

    def _load(self) -> None:
        _Pool.resize(self.lib, self.threads)
        verification = self.lib.Verification.InternalConsistency
        self.program = self.lib._load_program_from_buffer(self.data, program_verification=verification)
        self.method = self.program.load_method(_METHOD)
        self.generation = _Pool.generation

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs); one image after the other."""
        if self.generation != _Pool.generation:
            with _quiet():
                self._load()
        return in_batches(self._run, images)

    def _run(self, image: np.ndarray) -> np.ndarray:
        (logits,) = self.method((self.torch.from_numpy(image),))
        found: np.ndarray = logits.numpy()
        return found


def _whole(path: Path) -> bytes:
    """The bytes of a program that is all there: ExecuTorch does not look whether the weights after it are."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    data = path.read_bytes()
    if data[4:8] != _MAGIC:
        raise UserError(f"{path}: not a program that ExecuTorch opens (it does not begin like one)")
    if data[8:12] == _EXTENDED:
        program, base, segments = (int.from_bytes(data[at : at + 8], "little") for at in (16, 24, 32))
        size = base + segments if segments else program
        if len(data) < size:
            raise UserError(f"{path}: not a whole program (it has {len(data)} bytes of {size})")
    return data


def _contract(method: Any) -> list[tuple[int, int]]:
    """Type and number of dimensions of each input and output; `run` gives it one image at a time."""
    meta = method.method_meta()
    tensors = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
    tensors += [meta.output_tensor_meta(i) for i in range(meta.num_outputs())]
    return [(tensor.dtype(), len(tensor.sizes())) for tensor in tensors]


@contextmanager
def _quiet() -> Iterator[Any]:
    """Keeps ExecuTorch's chatter away; yields a function that gives the last line its C++ part has said.

    It warns at import, its C++ part writes to the process's stderr, and the partitioner gives the root logger a
    handler, which is taken away again.
    """
    root = logging.getLogger()
    handlers, disabled = root.handlers[:], root.manager.disable
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:

        def last() -> str:
            said.flush()
            said.seek(0)
            lines = said.read().strip().splitlines()
            return one_line(Exception(lines[-1])) if lines else ""

        sys.stderr.flush()
        aside = os.dup(2)
        os.dup2(said.fileno(), 2)
        logging.disable(logging.ERROR)
        try:
            with warnings.catch_warnings(), redirect_stderr(said):  # the bindings write to sys.stderr
                warnings.simplefilter("ignore")
                yield last
        finally:
            logging.disable(disabled)
            root.handlers[:] = handlers
            os.dup2(aside, 2)
            os.close(aside)


def stored(path: Path) -> dict[str, int]:
    """How many weights the file holds, by type. Raises UserError for one that is not whole."""
    from .executorch_weights import weights

    try:
        return weights(_whole(path))
    except ValueError as error:
        raise UserError(f"{path}: not a program for XNNPACK ({error})") from None


def ran(path: Path, threads: int) -> Ran:
    """What runs, from the trace of one run. Raises UserError where the file cannot be opened."""
    from .executorch_ran import ran as traced

    session = ExecutorchSession(path, threads)
    sizes = session.method.method_meta().input_tensor_meta(0).sizes()
    with _quiet():
        (devtools,) = require(EXTRA, "executorch.devtools")
        return traced(session.lib, devtools, session.data, (session.torch.zeros(sizes, dtype=session.torch.uint8),))


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """The sources of programs that predict with the file at `path`, relative to the bundle: Python and C++."""
    from .executorch_example import cpp_example, example_in_python

    return {
        "example_executorch.py": example_in_python(manifest, path),
        "examples/executorch/main.cpp": cpp_example(manifest, path),
    }


EXECUTORCH = Runtime(
    name="executorch",
    extra=EXTRA,
    precisions=(FLOAT32, INT8),
    packages=("executorch",),
    writes_with=("executorch",),
    runs_with=("torch", "executorch.extension.pybindings.portable_lib"),
    write=write,
    open=ExecutorchSession,
    examples=examples,
    stored=stored,
    ran=ran,
)
