"""Where a Bundle is written: a folder that takes its name when it is whole and replaces nothing but a Bundle."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from .bundle import is_bundle


def check_target(target: Path) -> None:
    """Raises UserError for a place that a Bundle may not take."""
    if target.is_file():
        raise UserError(f"{target}: is a file; a bundle is a folder")
    if target.is_dir() and any(target.iterdir()) and not is_bundle(target):
        raise UserError(f"{target}: is not empty and no bundle; choose another folder")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder beside `target` that takes its name, and its place, when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target = target.resolve()
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o777 & ~umask)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = new.with_suffix(".old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
