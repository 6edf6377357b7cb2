"""What identifies a file's bytes."""

from __future__ import annotations

import hashlib
import os


def digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """The hash of a file in hexadecimal digits, read piece by piece; `algorithm` as hashlib names it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
