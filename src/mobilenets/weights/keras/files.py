"""The files that Keras writes (.h5, .keras, .weights.h5), read by h5py alone: configuration, tensors, their layers."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..archives import check_zip, read_member

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
WEIGHTS_IN_ZIP = "model.weights.h5"
LARGEST_BYTES = 2 * 10**9  # unpacked; the largest MobileNet with its optimiser state is a quarter of that
LARGEST_JSON_BYTES = 10**8  # V3's configuration is 0.2 MB

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, EOFError)  # of h5py, json
_OPTIMISER = re.compile(r"^(optimizer|optimizer_weights|_optimizer)(/|$)")
_RANDOM = re.compile(r"seed_generator")


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """What a file holds. `tensors` are by their path in the HDF5 file, in Keras' layouts.

    `config` is None where the file holds weights alone. `layers` lists, for the legacy layout, each layer with its
    weights as (Keras' name, path); it is empty for the layout of Keras 3, whose paths speak (layers/conv2d_1/vars/0),
    and where `names` has the layer's own name for each path that states it.
    """

    kind: str
    config: dict[str, Any] | None
    version: str
    tensors: dict[str, np.ndarray] = field(repr=False)
    layers: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)

    @property
    def legacy(self) -> bool:
        """Whether the layout is that of Keras 1 and 2 (.h5)."""
        return bool(self.layers)


def is_keras_file(path: Path) -> bool:
    """Whether the file is HDF5, or a zip with Keras' weights in it."""
    try:
        with open(path, "rb") as f:
            if f.read(8) == HDF5_SIGNATURE:
                return True
        with zipfile.ZipFile(path) as archive:
            return WEIGHTS_IN_ZIP in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def read_keras_file(path: Path) -> KerasFile:
    """The file's configuration and tensors. Raises UserError, one line, when it is damaged or no file of Keras."""
    try:
        import h5py
    except ImportError:
        raise UserError('Keras files need h5py: pip install "mobilenets[weights]"') from None
    try:
        with open(path, "rb") as f:
            signature = f.read(8)
        if signature != HDF5_SIGNATURE:
            config, version, data = _unzipped(path)
            with h5py.File(io.BytesIO(data), "r") as file:
                return _keras_3(file, path, "Keras .keras", config, version)
        with h5py.File(path, "r") as file:
            return _hdf5(file, path)
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or no file that Keras wrote ({reason})") from None


def _hdf5(file: Any, path: Path) -> KerasFile:
    """A bare HDF5 file: a whole legacy model, legacy weights, or the weights of Keras 3."""
    if "model_config" in file.attrs:
        config = json.loads(_text(file.attrs["model_config"]))
        return _legacy(file, "model_weights", path, "Keras .h5", config)
    if _names(file, "layer_names"):
        return _legacy(file, "", path, "Keras weights .h5", None)
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        return _keras_3(file, path, "Keras .weights.h5", None, "")
    raise UserError(f"{path}: HDF5, but neither a model nor weights that Keras wrote")


def _legacy(file: Any, root: str, path: Path, kind: str, config: dict[str, Any] | None) -> KerasFile:
    datasets, groups = _contents(file, path)
    top = groups[root]
    layers = []
    for layer in _names(top, "layer_names"):
        base = f"{root}/{layer}" if root else layer
        weights = tuple((name, f"{base}/{name}") for name in _names(groups[base], "weight_names"))
        layers.append((layer, weights))
    missing = [name for _, weights in layers for _, name in weights if name not in datasets]
    if missing:
        raise UserError(f"{path}: lists the weight {missing[0]!r} and does not hold it")
    set_aside = _aside(datasets)
    return KerasFile(
        kind=kind,
        config=config,
        version=_text(file.attrs.get("keras_version", top.attrs.get("keras_version", "2"))),
        tensors={name: _values(data) for name, data in datasets.items() if name not in set_aside},
        layers=tuple(layers),
        set_aside=set_aside,
    )


def _keras_3(file: Any, path: Path, kind: str, config: dict[str, Any] | None, version: str) -> KerasFile:
    datasets, groups = _contents(file, path)
    set_aside = _aside(datasets)
    return KerasFile(
        kind=kind,
        config=config,
        version=version or "3",
        tensors={name: _values(data) for name, data in datasets.items() if name not in set_aside},
        names={
            name.removesuffix("/vars"): _text(group.attrs["name"])
            for name, group in groups.items()
            if name.endswith("/vars") and "name" in group.attrs
        },
        set_aside=set_aside,
    )


def _contents(file: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every dataset and every group by its path, "" being the root.

    Only what the file itself holds: links to other files are not followed. Sizes are checked before anything is read.
    """
    import h5py

    datasets: dict[str, Any] = {}
    groups: dict[str, Any] = {"": file}

    def note(name: str, item: Any) -> None:  # visits hard links alone
        (datasets if isinstance(item, h5py.Dataset) else groups)[name] = item

    file.visititems(note)
    for name, item in datasets.items():
        if item.external or item.is_virtual:
            raise UserError(f"{path}: the tensor {name!r} lies in another file, which is not opened")
    total = sum(item.nbytes for item in datasets.values())
    if total > LARGEST_BYTES:
        raise UserError(f"{path}: its tensors would take {total / 1e9:.1f} GB; allowed: {LARGEST_BYTES / 1e9:.0f} GB")
    return datasets, groups


def _aside(datasets: dict[str, Any]) -> dict[str, str]:
    aside = {name: "optimiser state" for name in datasets if _OPTIMISER.match(name)}
    return aside | {name: "random state of a layer" for name in datasets if _RANDOM.search(name)}


def _values(dataset: Any) -> np.ndarray:
    """The values; bfloat16, which HDF5 has not, from its bits to float32."""
    values = np.asarray(dataset[()])
    if values.dtype.kind == "V" and values.dtype.itemsize == 2:
        return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return values


def _names(group: Any, key: str) -> list[str]:
    """An attribute that lists names; Keras splits a long one into key0, key1 ..."""
    if key in group.attrs:
        return [_text(name) for name in group.attrs[key]]
    found: list[str] = []
    index = 0
    while f"{key}{index}" in group.attrs:
        found += [_text(name) for name in group.attrs[f"{key}{index}"]]
        index += 1
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _unzipped(path: Path) -> tuple[dict[str, Any], str, bytes]:
    """The configuration, Keras' version and the weights' bytes of a .keras archive, checked before it is unpacked."""
    check_zip(path, limit_bytes=LARGEST_BYTES)
    config = json.loads(read_member(path, "config.json", LARGEST_JSON_BYTES))
    metadata = json.loads(read_member(path, "metadata.json", LARGEST_JSON_BYTES))
    return config, str(metadata["keras_version"]), read_member(path, WEIGHTS_IN_ZIP, LARGEST_BYTES)
