"""Text files inside a data set: decoding, and the paths they write down."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .records import Files


def read_text(root: Path, files: Files, name: str) -> str:
    """The text of a file, UTF-8 with or without a byte order mark. Raises UserError when it is something else."""
    try:
        text = files.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{root}: {name} is not UTF-8 text (byte {error.start})") from error
    if "\0" in text:
        raise UserError(f"{root}: {name} is not text")
    return text


def parent_prefix(name: str) -> str:
    """What stands before the file's own name: "" or "folder/"."""
    return name[: name.rfind("/") + 1]


def safe_relative(root: Path, where: str, path: str, prefix: str) -> str:
    """The path below the root that a list in folder `prefix` writes as `path`. UserError when it leaves the root."""
    parts = [part for part in path.strip().replace("\\", "/").split("/") if part not in ("", ".")]
    if path.strip().startswith(("/", "\\")) or ".." in parts or not parts:
        raise UserError(f"{root}: {where}: {path!r} is not a path inside the data folder")
    return prefix + "/".join(parts)
