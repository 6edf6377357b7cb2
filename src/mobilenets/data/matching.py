"""Which class of a data set is which logit of a network that was made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from .records import ClassLabel


def map_classes(classes: Sequence[ClassLabel], labels: Sequence[dict[str, Any]], network: str) -> list[int]:
    """For each class of the data the logit that stands for it: by index or wnid where both state it, else by name.

    Names are compared as they are, then without case, with `_` as a space and up to the first comma (ImageNet's
    synonyms). Raises UserError for a class that the network does not have, for a name that stands for several of its
    classes, and for two classes of the data that would be the same class of the network.
    """
    columns = [_column(label, labels, network) for label in classes]
    taken: dict[int, str] = {}
    for label, column in zip(classes, columns):
        if column in taken:
            raise UserError(
                f"the data's classes {taken[column]!r} and {label.name!r} are both {labels[column]['name']!r} "
                f"of {network}; one of them must be renamed"
            )
        taken[column] = label.name
    return columns


def _column(label: ClassLabel, labels: Sequence[dict[str, Any]], network: str) -> int:
    for key, value in (("index", label.index), ("wnid", label.wnid)):
        if value is not None and any(key in row for row in labels):
            found = [i for i, row in enumerate(labels) if row.get(key) == value]
            if len(found) == 1:
                return found[0]
            if len(found) > 1:
                raise UserError(f"{network} has {len(found)} classes of {key} {value!r}")
    for form in (str, _plain, _first):
        wanted = form(label.name)
        found = [i for i, row in enumerate(labels) if form(row["name"]) == wanted]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise UserError(
                f"the name {label.name!r} is ambiguous: it stands for the classes {', '.join(map(str, found))} of "
                f"{network}; state an index or wnid for each class in the data"
            )
    shown = ", ".join(row["name"] for row in labels[:8]) + (f" … ({len(labels)})" if len(labels) > 8 else "")
    raise UserError(f"the data's class {label.name!r} is none of the classes of {network}: {shown}")


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _first(name: str) -> str:
    return _plain(name.split(",")[0])
