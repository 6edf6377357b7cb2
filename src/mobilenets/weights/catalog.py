"""The published ImageNet weights by name: where they are, what they expect of a picture, what they score.

The tables in `published/` are written by `benchmarks/record_catalog.py` out of timm, torchvision, Keras and Google's
pages; what nobody publishes stays empty. A name is `architecture.library_recipe_data`, where the architecture is ours,
width included: `mobilenet_v3_small_075.timm_lamb_in1k`, `mobilenet_v2.torchvision_v2_in1k`,
`mobilenet_v1_025.keras_128_in1k`, `mobilenet_v1_025.tflite_128_uint8_in1k`. The libraries' own names are understood as
well. timm's networks that cannot be a Spec (`timm.networks.REFUSED`) are left out.
"""

from __future__ import annotations

import csv
import difflib
import fnmatch
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ..arch.adapt import with_classes, with_resolution
from ..arch.registry import create_spec, parse_name
from ..arch.spec import Spec
from ..errors import UserError

LIBRARIES = ("timm", "torchvision", "keras", "tflite")
OTHER_NETWORKS = ("mobilenetv1_100h", "mobilenetv3_large_150d")  # of timm's, which no setting of `create_spec` makes
_FOLDER = Path(__file__).with_name("published")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedWeights:
    """One file of published weights.

    `model` is the library's own name of the network, which decides where a file holds tensors alone. `settings` are
    those of `create_spec` beside the architecture's name; no setting makes timm's mobilenetv1_100h and
    mobilenetv3_large_150d, for which `timm.networks.published` does. The file is `file` in the Hugging Face repository
    `repo`, or is fetched from `url`, as it is or as the .tflite inside a .tgz. `size_mb` is in 10^6 bytes, rounded by
    whoever published it; `sha256` may be its first digits. `classes` counts the outputs, a background class included;
    0: no classifier. `mean` and `std` are per RGB channel in 0...255, empty where the file itself states them. `top1`
    is a fraction. An empty text and None stand for what is not published.
    """

    name: str
    library: str
    architecture: str
    model: str
    aliases: tuple[str, ...]
    settings: dict[str, Any]
    repo: str
    file: str
    url: str
    size_mb: float | None
    sha256: str
    md5: str
    classes: int
    quantisation: str
    resolution: int
    crop: float | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    top1: float | None
    top1_source: str
    licence: str

    @property
    def address(self) -> str:
        """Where the file is, for a person to follow."""
        return self.url or f"https://huggingface.co/{self.repo}/blob/main/{self.file}"

    def to_json(self) -> dict[str, Any]:
        """Plain data with every field."""
        return asdict(self) | {key: list(getattr(self, key)) for key in ("aliases", "mean", "std")}


@cache
def catalogue() -> dict[str, PublishedWeights]:
    """Every entry by its name: timm's first, then torchvision's, Keras' and Google's TFLite files.

    >>> catalogue()["mobilenet_v2.torchvision_v2_in1k"].top1
    0.72154
    """
    entries: dict[str, PublishedWeights] = {}
    for library in LIBRARIES:
        with open(_FOLDER / f"{library}.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                entries[row["name"]] = _entry(row)
    return entries


def find(name: str) -> PublishedWeights:
    """The entry of that name, ours or the library's, capitals or not. Raises UserError with near misses.

    >>> find("MobileNet_V2_Weights.IMAGENET1K_V2").name
    'mobilenet_v2.torchvision_v2_in1k'
    """
    found = _by_any_name().get(name.casefold())
    if found is not None:
        return found
    raise UserError(f"unknown published weights {name!r}; {_hint(name.casefold())}")


def find_where_no_file_is(name: str, hint: str = "") -> PublishedWeights:
    """As `find`, for a name that may be meant as a file's: the error says that there is none. `hint` goes into it."""
    try:
        return find(name)
    except UserError as error:
        raise UserError(f"{name}: no such file or folder{hint}, and {error}") from None


def spec_of(entry: PublishedWeights) -> Spec:
    """The network of the entry, known without its file. Preprocessing is the architecture's but for the resolution.

    >>> spec_of(find("mobilenet_v3_small.torchvision_v1_in1k")).norm.eps
    0.001
    """
    background = bool(entry.settings.get("background"))
    classes = max(entry.classes - background, 0)
    if entry.model in OTHER_NETWORKS:
        from .timm.networks import published

        return with_classes(with_resolution(published(entry.model).spec, entry.resolution), classes)
    settings = {"classes": classes, "resolution": entry.resolution} | entry.settings
    return create_spec(entry.architecture, **settings)


def matching(pattern: str) -> list[PublishedWeights]:
    """The entries whose name or alias contains `pattern`, or fits it as a whole where it has * ? or [.

    >>> [entry.name for entry in matching("V3_small*torchvision*")]
    []
    >>> [entry.name for entry in matching("V3_small.torchvision")]
    ['mobilenet_v3_small.torchvision_v1_in1k']
    """
    glob = pattern.casefold() if any(sign in pattern for sign in "*?[") else f"*{pattern.casefold()}*"
    return [
        entry
        for entry in catalogue().values()
        if any(fnmatch.fnmatchcase(each.casefold(), glob) for each in (entry.name, *entry.aliases))
    ]


@cache
def of_architecture(name: str) -> tuple[str, ...]:
    """The names of the entries for an architecture, at every width."""
    return tuple(entry.name for entry in catalogue().values() if parse_name(entry.architecture)[0].name == name)


@cache
def _by_any_name() -> dict[str, PublishedWeights]:
    entries = {entry.name: entry for entry in catalogue().values()}
    return entries | {alias.casefold(): entry for entry in entries.values() for alias in entry.aliases}


def _hint(name: str) -> str:
    """What may have been meant: the weights of that architecture, else names that look alike, else how to list all."""
    longer = [each for each in catalogue() if each.startswith(f"{name}.")]
    near = longer[:3] or difflib.get_close_matches(name, _by_any_name(), 3, 0.7)
    near = list(dict.fromkeys(_by_any_name()[each].name for each in near))
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "`mobilenets weights list` shows what there is"


def _entry(row: dict[str, str]) -> PublishedWeights:
    return PublishedWeights(**{name: read(row[name]) for name, read in _readers().items()})


@cache
def _readers() -> dict[str, Callable[[str], Any]]:
    """How the text of each column becomes the field's value."""
    types = get_type_hints(PublishedWeights)
    return {field.name: _reader(types[field.name]) for field in fields(PublishedWeights)}


def _reader(kind: Any) -> Callable[[str], Any]:
    if kind == float | None:
        return lambda text: float(text) if text else None
    if kind == dict[str, Any]:
        return lambda text: json.loads(text) if text else {}
    if kind in (str, int):
        return kind
    item = get_args(kind)[0]
    return lambda text: tuple(item(part) for part in text.split())
