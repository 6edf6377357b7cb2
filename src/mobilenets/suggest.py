"""Near misses: what somebody may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Sequence


def near(word: str, known: Sequence[str], prefix: str = "") -> str:
    """`; did you mean X?` where something known is close to the word, else an empty string.

    `prefix` stands before each suggestion.

    >>> near("trian", ["train", "evaluate"])
    '; did you mean train?'
    """
    from difflib import SequenceMatcher, get_close_matches

    found = get_close_matches(word, known, 2, 0.6)
    closeness = [SequenceMatcher(None, each, word).ratio() for each in found]
    found = [each for each, close in zip(found, closeness) if close > closeness[0] - 0.15]  # no far second
    return f"; did you mean {' or '.join(prefix + word for word in found)}?" if found else ""
