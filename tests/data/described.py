"""What a data set that was opened says, in short, and data sets without files."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from mobilenets.data.dataset import Dataset, open_dataset
from mobilenets.errors import UserError

Write = Callable[..., Path]


def counts(dataset: Dataset) -> dict[tuple[str | None, str], int]:
    """Images per (split, class name)."""
    return dict(collections.Counter((s.split, dataset.classes[s.label].name) for s in dataset.samples))


def refusal(path: Path | str, labels: str | None = None) -> str:
    """The one line with which `path` is refused."""
    with pytest.raises(UserError) as caught:
        open_dataset(path, labels=labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class NamesOnly:
    """Files of which only the names are known."""

    def __init__(self, names: list[str]) -> None:
        self.names = tuple(sorted(names))
        self.folders = tuple(sorted({name[:i] for name in names for i, c in enumerate(name) if c == "/"}))

    def read(self, name: str) -> bytes:
        raise FileNotFoundError(name)

    def size(self, name: str) -> int:
        return 0


class InMemory(NamesOnly):
    """Text files in memory, and images of which only the names are known."""

    def __init__(self, texts: dict[str, str], images: list[str]) -> None:
        super().__init__([*texts, *images])
        self.texts = texts

    def read(self, name: str) -> bytes:
        return self.texts[name].encode()


WORD = st.sampled_from(["a", "b", "c", "red", "train", "val", "test", "images"])
