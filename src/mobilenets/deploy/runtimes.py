"""The runtimes a Bundle can hold files for: one file of this package each, found here by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from .wrap import Shipped


class Session(Protocol):
    """A model file opened in its own runtime."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs), any N of at least 1."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How one runtime's files are written and run. Nothing here imports the runtime before it is used.

    `write(shipped, folder, precision, properties)` writes the file (and whatever belongs to it) into the folder, the
    same bytes each time, and returns the path of the file to open and what the bundle records about it.
    `open(path, threads)` opens that file; threads None leaves the number to the runtime. It raises UserError, naming
    the file, when the file is broken or does not keep the Bundle's input and output contract.
    `example(manifest, path)` is the source of a stand-alone program, example_NAME.py, that predicts with the file.
    `extra` installs what is needed, `packages` are the distributions whose versions a bundle records, `runs_with` the
    modules that running a file imports.
    """

    name: str
    extra: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    runs_with: tuple[str, ...]
    write: Callable[[Shipped, Path, str, Mapping[str, str]], tuple[Path, dict[str, Any]]]
    open: Callable[[Path, int | None], Session]
    example: Callable[[Mapping[str, Any], str], str]


RUNTIMES = {"onnx": "ONNX"}  # name of the file in this package, and of the Runtime in it


def runtime(name: str) -> Runtime:
    """The runtime of that name. Raises UserError naming the known ones."""
    if name not in RUNTIMES:
        raise UserError(f"unknown runtime {name!r}; allowed: {', '.join(RUNTIMES)}")
    found: Runtime = getattr(import_module(f"{__package__}.{name}"), RUNTIMES[name])
    return found


def require(extra: str, *modules: str) -> list[Any]:
    """The modules, imported. Raises UserError with the command that installs them when one is missing."""
    found = []
    for name in modules:
        try:
            found.append(import_module(name))
        except ImportError as error:
            missing = error.name or name
            raise UserError(f'{missing} is not installed; run: pip install "mobilenets[{extra}]"') from None
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
