"""Near misses: what somebody may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Sequence


def near(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` where something known is close to the word, else an empty string.

    >>> near("trian", ["train", "evaluate"])
    '; did you mean train?'
    """
    from difflib import get_close_matches

    found = get_close_matches(word, known, 2, 0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""
