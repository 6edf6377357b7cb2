"""Programs of torch.export (.pt2), run by torch: for servers and scripts that have PyTorch and none of our code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from . import FLOAT32, Ran, Runtime, one_line
from .torch_ran import told

if TYPE_CHECKING:
    from . import Shippable

FILE = "model.pt2"
_SAID_OF_NODES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")  # paths and names of our source


def write(
    module: Shippable, folder: Path, precision: str, properties: Mapping[str, str]
) -> tuple[Path, dict[str, Any]]:
    """Writes `folder`/model.pt2: dynamic batch, nothing pickled, the same bytes each time. Returns it and its facts."""
    import torch

    size = module.spec.resolution
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(
            module, (example,), dynamic_shapes={"image": {0: torch.export.Dim.DYNAMIC}}, strict=False
        )
    for node in program.graph.nodes:
        for name in _SAID_OF_NODES:
            node.meta.pop(name, None)
    program.example_inputs = None  # the one thing in the file that would be pickled
    path = folder / FILE
    torch.export.save(program, path, extra_files=dict(sorted(properties.items())))
    return path, {"torch": torch.__version__.split("+")[0]}


class ProgramSession:
    """A program of torch.export, run by torch on the CPU."""

    def __init__(self, path: Path, threads: int | None) -> None:
        import torch

        _refuse_pickles(path)
        try:
            program = torch.export.load(path)
        except MemoryError:
            raise
        except Exception as error:  # whatever a damaged program makes of torch's reader
            raise UserError(f"{path}: not a program that torch {torch.__version__} opens ({one_line(error)})") from None
        found, wanted = _contract(program), "image uint8 of 4 dimensions, logits float32 of 2 dimensions"
        if found != wanted:
            raise UserError(f"{path}: takes and gives {found}; a bundle's file takes and gives {wanted}")
        self.module = program.module(check_guards=False)
        self.threads = threads

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with torch.inference_mode():
                logits: np.ndarray = self.module(torch.from_numpy(np.ascontiguousarray(images))).numpy()
        finally:
            torch.set_num_threads(before)
        return logits


def _refuse_pickles(path: Path) -> None:
    """torch.export.load unpickles what a file holds so, which may run any code: a bundle's file holds nothing so."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2]
                pickled = name.startswith("data/sample_inputs/") and entry.file_size > 0
                if name.startswith("data/") and name.endswith("_config.json"):
                    payloads = json.loads(archive.read(entry))["config"].values()
                    pickled = any(payload["use_pickle"] for payload in payloads)
                if pickled:
                    raise UserError(f"{path}: holds pickled objects ({name}), which could run any code; not opened")
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a program of torch.export ({one_line(error)})") from None


def _contract(program: Any) -> str:
    """What a program takes and gives, in words."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature = program.graph_signature
    words = [_value(name, values.get(name)) for name in signature.user_inputs]
    words += [_value("logits", values.get(name)) for name in signature.user_outputs]
    return ", ".join(words)


def _value(name: str, value: Any) -> str:
    if not hasattr(value, "dtype"):
        return f"{name} {value}"
    return f"{name} {str(value.dtype).removeprefix('torch.')} of {value.ndim} dimensions"


def ran(path: Path, threads: int) -> Ran:
    """What torch runs of the program."""
    return told(ProgramSession(path, threads).module.graph)


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """The source of a program that predicts with the file at `path`, relative to the bundle; it needs torch."""
    from ...arch.spec import Spec
    from ..example import python_example

    name = "example_torch.py"
    source = python_example(
        Spec.from_json(manifest["spec"]).preprocessing,
        name=name,
        package="torch",
        imports="import torch",
        setup=f'network = torch.export.load(HERE / "{path}").module()',
        run="network(torch.from_numpy(image[None])).detach().numpy()[0]",
    )
    return {name: source}


TORCH = Runtime(
    name="torch",
    extra="",
    precisions=(FLOAT32,),
    packages=("torch",),
    writes_with=(),
    runs_with=("torch",),
    write=write,
    open=ProgramSession,
    examples=examples,
    calibrated=(),
    ran=ran,
)
