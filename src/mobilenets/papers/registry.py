"""Every entry by its id, and which ones a word on the command line means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import UserError
from ..suggest import near
from . import curves, pages, spiral, v1, v1_grid, v1_tasks, v2, v2_memory, v2_tasks, v3, v3_tasks, v4, v4_architectures
from .entry import Entry

MODULES = (v1, v1_tasks, v1_grid, v2, v2_memory, v2_tasks, spiral, v3, v3_tasks, curves, v4_architectures, v4, pages)


def _order(entry: Entry) -> tuple[str, int, int]:
    """By paper, its tables by number, its figures, then the rest as it stands; the libraries last."""
    paper, _, what = entry.id.partition(".")
    found = re.fullmatch(r"(table|fig)(\d+)", what)
    if not found:
        return (paper if what else "~", 2, 0)
    return (paper, found[1] == "fig", int(found[2]))


ENTRIES: dict[str, Entry] = {
    entry.id: entry for entry in sorted((entry for module in MODULES for entry in module.ENTRIES), key=_order)
}


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
