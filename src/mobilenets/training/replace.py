"""Which folder a new Run may replace: one of its own kind with nothing else in it, whatever else is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ..errors import UserError
from .run import is_run


def check_replaceable(
    folder: Path,
    sources: Sequence[str | os.PathLike[str]],
    files: Collection[str],
    is_own: Callable[[Path], bool],
    kind: str,
) -> None:
    """Raises UserError, one line, where something is at `folder` that would be lost.

    Only a Run for which `is_own` holds is replaced, called `kind` in words; `files` are all that one holds. `sources`,
    which the new Run is made from, may not lie in it.
    """
    for place in (folder, *folder.absolute().parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: is a file; --out names a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_run(folder):
        raise UserError(f"{folder}: is not empty and not a run; choose another --out")
    if not is_own(folder):
        raise UserError(f"{folder}: is a run that is not {kind}; choose another --out")
    for source in sources:
        path = Path(source).resolve()
        if folder.resolve() in (path, *path.parents):
            raise UserError(f"{source}: lies in {folder}, which would be replaced; choose another --out")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if strangers := sorted(found - set(files)):
        raise UserError(f"{folder}: holds {strangers[0]} beside the run that is {kind}; choose another --out")
