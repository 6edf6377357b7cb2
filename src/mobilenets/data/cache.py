"""Small results that can be made again, kept between runs in one file of the cache folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress

from ..cachefolder import cache_folder

_PER_QUERY = 500  # SQLite builds as old as 3.31 allow 999 parameters


class BlobCache:
    """Small byte strings by key, in one SQLite file of the cache folder.

    A cache may always be absent, read-only, full, locked or damaged: then it finds nothing and keeps nothing. A damaged
    one is removed, so that the next run makes a new one.
    """

    def __init__(self, name: str) -> None:
        self._path = cache_folder() / f"{name}.sqlite"

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The entries of those keys that are known."""
        found: dict[bytes, bytes] = {}
        if not self._path.is_file():
            return found
        try:
            with closing(sqlite3.connect(self._path, timeout=5)) as connection:
                for begin in range(0, len(keys), _PER_QUERY):
                    part = keys[begin : begin + _PER_QUERY]
                    marks = ",".join("?" * len(part))
                    found.update(connection.execute(f"SELECT key, value FROM entries WHERE key IN ({marks})", part))
        except sqlite3.Error as error:
            self._forget(error)
            return {}
        return found

    def put(self, entries: dict[bytes, bytes]) -> None:
        """Adds entries."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
                connection.execute("PRAGMA synchronous = OFF")  # what a power cut loses is made again
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", entries.items())
        except sqlite3.Error as error:
            self._forget(error)
        except OSError:
            return

    def _forget(self, error: sqlite3.Error) -> None:
        """Removes the file when it is no database; an operational fault (locked, full, read-only) leaves it."""
        if not isinstance(error, sqlite3.OperationalError):
            with suppress(OSError):
                self._path.unlink()
