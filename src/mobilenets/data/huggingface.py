"""Data sets of the Hugging Face `datasets` library as a `Dataset`: saved to disk, in parquet files, or by name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .addresses import address_of
from .cache import cache_folder
from .headers import HeaderError, read_header
from .parquetindex import LABEL_COLUMNS, SUFFIXES
from .records import SPLIT_ALIASES, ClassLabel, Dataset, Sample

SCHEME = "hf://datasets/"


def is_huggingface(path: str | os.PathLike[str]) -> bool:
    """Whether the path means such a data set: `hf://datasets/NAME`, a folder of `save_to_disk`, or one of parquet."""
    address = address_of(path)
    if address.startswith(SCHEME):
        return ".tar" not in address and not address.endswith((".json", ".parquet"))
    if not os.path.isdir(address):
        return False
    names = set(os.listdir(address))
    return "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= names or bool(_parquet(address))


def open_huggingface(path: str | os.PathLike[str], *, labels: str | None = None) -> Dataset:
    """The data set at a path, or of the name in `hf://datasets/NAME`, form "huggingface".

    The images stay in the library's Arrow files, which are mapped, not read; parquet and remote data are turned into
    such files once, in the cache. `labels` names the column of the class. Raises UserError where the library is not
    installed, and for columns that are none.
    """
    address = address_of(path)
    parts = _load(address)
    first = next(iter(parts.values()))
    image, column = _image_column(address, first), _label_column(address, first, labels)
    classes, place = _classes(parts, column)
    import datasets

    parts = {name: part.cast_column(image, datasets.Image(decode=False)) for name, part in parts.items()}
    files = TableFiles(parts, image)
    suffix = _suffix(files.bytes_at(next(iter(parts)), 0))
    samples = []
    for name, part in parts.items():
        split = SPLIT_ALIASES.get(name.lower()) if len(parts) > 1 else None
        for row, value in enumerate(part.select_columns([column])[:][column]):
            if value is not None and value != -1:  # -1 is how a hidden label is written
                samples.append(Sample(f"{name}/{row:08}.{suffix}", place[value], split))
    files.names = tuple(sorted(sample.name for sample in samples))
    used = {sample.label for sample in samples}
    total = sum(map(len, parts.values()))
    notes = [f"{total - len(samples)} images without a label, left out"] if len(samples) < total else []
    return Dataset(
        root=Path(address),
        form="huggingface",
        classes=classes,
        samples=tuple(samples),
        files=files,
        notes=(f"images in column {image!r}, classes in {column!r}", *notes),
        empty=tuple(label.name for i, label in enumerate(classes) if i not in used),
    )


class TableFiles:
    """The images of a table as `records.Files`, named `split/row.suffix`."""

    names: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    def __init__(self, parts: Mapping[str, Any], image: str) -> None:
        self._parts, self._image = parts, image

    def read(self, name: str) -> bytes:
        """The image file. Raises OSError where the table holds a path at which there is none."""
        part, _, row = name.partition("/")
        return self.bytes_at(part, int(row.partition(".")[0]))

    def bytes_at(self, part: str, row: int) -> bytes:
        """The image file in a row of a part."""
        cell = self._parts[part][row][self._image]
        if cell is None:
            return b""
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()

    def size(self, name: str) -> int:
        """Bytes of the image file."""
        return len(self.read(name))


def _load(address: str) -> dict[str, Any]:
    """The parts (splits) of the data set by name, none of them empty."""
    try:
        import datasets
    except ImportError:
        raise UserError(f'{address}: needs the datasets library: pip install "mobilenets[huggingface]"') from None
    datasets.disable_progress_bars()
    cache = str(cache_folder() / "huggingface")
    try:
        if address.startswith(SCHEME):
            from .download import refuse_offline

            refuse_offline(address)
            name, _, split = address.removeprefix(SCHEME).partition(":")
            found = datasets.load_dataset(name, split=split or None, cache_dir=cache)
        elif os.path.exists(os.path.join(address, "dataset_dict.json")) or not _parquet(address):
            found = datasets.load_from_disk(address)
        else:
            found = datasets.load_dataset("parquet", data_files=_by_split(_parquet(address)), cache_dir=cache)
    except UserError:
        raise
    except Exception as error:  # the library raises dozens of kinds of its own, its engines' and its clients'
        raise UserError(f"{address}: the datasets library cannot load it ({_first_line(error)})") from None
    parts = dict(found) if isinstance(found, datasets.DatasetDict) else {str(found.split or "train"): found}
    parts = {name: part for name, part in parts.items() if len(part)}
    if not parts:
        raise UserError(f"{address}: holds no row")
    return parts


def _parquet(folder: str) -> list[str]:
    """The parquet files directly in a folder, or in its folder `data`."""
    for place in (folder, os.path.join(folder, "data")):
        if os.path.isdir(place):
            found = sorted(os.path.join(place, name) for name in os.listdir(place) if name.endswith(".parquet"))
            if found:
                return found
    return []


def _by_split(files: list[str]) -> dict[str, list[str]]:
    """The files by the split that their names begin with (`train-00000-of-00002.parquet`); all of train otherwise."""
    found: dict[str, list[str]] = {}
    for file in files:
        word = re.split(r"[^a-z]", os.path.basename(file).lower())[0]
        found.setdefault(SPLIT_ALIASES.get(word, "train"), []).append(file)
    return found


def _image_column(address: str, part: Any) -> str:
    import datasets

    found = [name for name, feature in part.features.items() if isinstance(feature, datasets.Image)]
    if len(found) != 1:
        raise UserError(
            f"{address}: {len(found)} columns hold images; one is expected, of the columns {', '.join(part.features)}"
        )
    return found[0]


def _label_column(address: str, part: Any, labels: str | None) -> str:
    import datasets

    columns = list(part.features)
    if labels is not None:
        if labels not in columns:
            raise UserError(f"{address}: no column {labels!r}; there are {', '.join(columns)}")
        return labels
    stated = [name for name, feature in part.features.items() if isinstance(feature, datasets.ClassLabel)]
    named = [name for name in LABEL_COLUMNS if name in columns]
    if len(stated) == 1 or named:
        return stated[0] if len(stated) == 1 else named[0]
    raise UserError(f"{address}: which column holds the class? --labels names it, of {', '.join(columns)}")


def _classes(parts: Mapping[str, Any], column: str) -> tuple[tuple[ClassLabel, ...], dict[Any, int]]:
    """The classes, and the place among them of each value of the column."""
    names = getattr(next(iter(parts.values())).features[column], "names", None)
    if names is not None:
        return tuple(ClassLabel(name, index=i) for i, name in enumerate(names)), {i: i for i in range(len(names))}
    values = sorted({value for part in parts.values() for value in part.unique(column) if value is not None})
    numbers = all(isinstance(value, int) for value in values)
    labels = tuple(ClassLabel(str(value), index=value if numbers else None) for value in values)
    return labels, {value: i for i, value in enumerate(values)}


def _suffix(data: bytes) -> str:
    """The suffix that fits the first image: the names of all get it, only what is packed shows it."""
    try:
        header = read_header(data)
    except HeaderError:
        header = None
    return "png" if header is None else SUFFIXES.get(header.format, header.format)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"
