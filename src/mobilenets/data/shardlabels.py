"""What the label members of a WebDataset sample say, and the classes that they make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ..errors import UserError
from .ranges import ShardError
from .records import ClassLabel

Label = int | str
FIELDS = (
    "cls",
    "label",
    "class",
    "class_id",
    "class_name",
    "class_index",
)  # of a .json member, the first that is there
_CAPTIONS = 1000  # distinct texts from which on, with few images each, they are captions and no classes


def label_in(where: str, members: Mapping[str, bytes], field: str | None) -> Label | None:
    """The label of one sample from its .cls, .json or .txt member; None where there is none.

    `field` names the field of the .json member. Raises ShardError naming the sample where a member cannot be read.
    """
    if field is not None:
        if "json" not in members:
            return None
        value = _fields(where, members["json"]).get(field)
        return None if value is None else _label(where, value)
    if "cls" in members:
        return _label(where, _text(where, members["cls"]))
    if "json" in members:
        fields = _fields(where, members["json"])
        stated = next((fields[name] for name in FIELDS if fields.get(name) is not None), None)
        if stated is not None:
            return _label(where, stated)
    return _label(where, _text(where, members["txt"])) if "txt" in members else None


def class_labels(address: str, values: Sequence[Label], images: int) -> tuple[tuple[ClassLabel, ...], list[int]]:
    """The classes that the distinct labels make, and the place of each label among them.

    Numbers are indices, and every class up to the largest exists; names stand in the order of the alphabet. Raises
    UserError for both at once, for a number below 0, and for texts that are captions.
    """
    numbers = [value for value in values if isinstance(value, int)]
    names = sorted(value for value in values if isinstance(value, str))
    if numbers and names:
        raise UserError(
            f"{address}: some labels are numbers ({numbers[0]}), others names ({names[0][:40]!r}); one kind is expected"
        )
    if names:
        if len(names) > max(_CAPTIONS, images // 10):
            raise UserError(f"{address}: {len(names):,} different texts for {images:,} images are captions, no classes")
        place = {name: i for i, name in enumerate(names)}
        return tuple(map(ClassLabel, names)), [place[str(value)] for value in values]
    if min(numbers) < 0:
        raise UserError(f"{address}: class {min(numbers)}; numbers start at 0")
    if max(numbers) > 10 * len(numbers) + 1000:
        raise UserError(f"{address}: class {max(numbers)} beside {len(numbers)} classes in all; are these labels?")
    return tuple(ClassLabel(str(i), index=i) for i in range(max(numbers) + 1)), numbers


def _text(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ShardError(f"{where}: its label is not UTF-8 text") from None


def _fields(where: str, data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError:
        raise ShardError(f"{where}: its .json cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise ShardError(f"{where}: its .json holds no fields but {str(value)[:40]!r}")
    return value


def _label(where: str, value: object) -> Label:
    """A number, also one that is written as text, or a name."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ShardError(f"{where}: its label is {str(value)[:40]!r}; a number or a name is expected")
    if isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)
    return value
