"""Where what can be made again is kept between runs: never in a data folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

_PER_QUERY = 500  # SQLite builds as old as 3.31 allow 999 parameters


def cache_folder() -> Path:
    """The folder that `MOBILENETS_CACHE` names, else ~/.cache/mobilenets. It may not exist yet."""
    return Path(os.environ.get("MOBILENETS_CACHE") or Path.home() / ".cache" / "mobilenets")


class BlobCache:
    """Small byte strings by key, in one SQLite file of the cache folder.

    A cache may always be absent, read-only, full, locked or damaged: then it finds nothing and keeps nothing.
    """

    def __init__(self, name: str) -> None:
        self._path = cache_folder() / f"{name}.sqlite"

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The entries of those keys that are known."""
        found: dict[bytes, bytes] = {}
        if not self._path.is_file():
            return found
        try:
            with closing(sqlite3.connect(self._path, timeout=5)) as connection:
                wanted = list(keys)
                for begin in range(0, len(wanted), _PER_QUERY):
                    part = wanted[begin : begin + _PER_QUERY]
                    marks = ",".join("?" * len(part))
                    found.update(connection.execute(f"SELECT key, value FROM entries WHERE key IN ({marks})", part))
        except sqlite3.Error:
            return {}
        return found

    def put(self, entries: dict[bytes, bytes]) -> None:
        """Adds entries."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", entries.items())
        except (sqlite3.Error, OSError):
            return
