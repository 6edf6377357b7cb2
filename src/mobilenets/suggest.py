"""Near misses: what somebody may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Sequence


def near(word: str, known: Sequence[str], prefix: str = "") -> str:
    """`; did you mean X?` where something known is close to the word, else an empty string.

    `prefix` stands before each suggestion.

    >>> near("trian", ["train", "evaluate"])
    '; did you mean train?'
    """
    from difflib import get_close_matches

    found = get_close_matches(word, known, 2, 0.6)
    return f"; did you mean {' or '.join(prefix + word for word in found)}?" if found else ""
