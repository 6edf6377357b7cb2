"""Every entry by its id, and which ones a word on the command line means."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import UserError
from ..suggest import near
from . import v1
from .entry import Entry

ENTRIES: dict[str, Entry] = {entry.id: entry for module in (v1,) for entry in module.ENTRIES}


def entries(words: Sequence[str]) -> tuple[Entry, ...]:
    """The entries that the words mean: an id, a pattern with * and ?, a group (`v1`), or `all`; each one once.

    Raises UserError with near misses on a word that means none.

    >>> [entry.id for entry in entries(["v1.table4", "v1.table?"])][:3]
    ['v1.table4', 'v1.table1', 'v1.table2']
    """
    found: dict[str, Entry] = {}
    for word in words:
        found |= {entry.id: entry for entry in _meant(word) if entry.id not in found}
    return tuple(found.values())


def _meant(word: str) -> list[Entry]:
    wanted = word.lower()
    if wanted == "all":
        return list(ENTRIES.values())
    meant = [entry for id, entry in ENTRIES.items() if fnmatchcase(id, wanted) or id.startswith(f"{wanted}.")]
    if not meant:
        hint = near(wanted, list(ENTRIES)) or "; `mobilenets paper` lists them"
        raise UserError(f"unknown table or figure {word!r}{hint}")
    return meant
