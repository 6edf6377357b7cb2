"""The layers of a file that holds weights alone: their class by what they hold, in the file's order."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from dataclasses import dataclass

from .files import KerasFile
from .tensors import ROLES, role_of, snake_case

_DIMENSIONS = {"Conv2D": 4, "DepthwiseConv2D": 4, "Dense": 2}


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """A layer of the file: its name there ("" where the file has none), class, and paths of its tensors by role."""

    name: str
    kind: str
    paths: dict[str, str]

    @property
    def kernel(self) -> str:
        """The path of the kernel. Raises KeyError where there is none."""
        return self.paths["depthwise_kernel" if "depthwise_kernel" in self.paths else "kernel"]


class Stock:
    """The file's layers with weights. Legacy files keep one order; Keras 3 an order within each class."""

    def __init__(self, layers: list[StoredLayer], ordered: bool) -> None:
        self._queues: dict[str, deque[StoredLayer]] = defaultdict(deque)
        self._ordered = ordered
        for layer in layers:
            self._queues["" if ordered else layer.kind].append(layer)

    def take(self, kind: str) -> StoredLayer | None:
        """The next layer where it is of that class, else None."""
        queue = self._queues["" if self._ordered else kind]
        return queue.popleft() if queue and queue[0].kind == kind else None

    def rest(self) -> list[StoredLayer]:
        """What was not taken."""
        return [layer for queue in self._queues.values() for layer in queue]


def stored_layers(file: KerasFile) -> list[StoredLayer]:
    """The layers with weights. One that is of no class that a MobileNet has gets the class ""."""
    layers = _legacy_layers(file) if file.legacy else _keras_3_layers(file)
    return [
        layer if _sound(file, layer) else StoredLayer(name=layer.name, kind="", paths=layer.paths) for layer in layers
    ]


def _sound(file: KerasFile, layer: StoredLayer) -> bool:
    """Whether the kernel has the dimensions of its class."""
    if layer.kind not in _DIMENSIONS:
        return layer.kind == "BatchNormalization"
    return file.tensors[layer.kernel].ndim == _DIMENSIONS[layer.kind]


def _legacy_layers(file: KerasFile) -> list[StoredLayer]:
    """The layers in the file's order; a nested model's weights are told apart by the scope in their names."""
    found = []
    for layer, weights in file.layers:
        scopes: dict[str, dict[str, str]] = {}
        for name, path in weights:
            scopes.setdefault(name.rpartition("/")[0], {})[role_of(name)] = path
        for scope, paths in scopes.items():
            found.append(StoredLayer(name=layer if len(scopes) == 1 else scope, kind=_kind(file, paths), paths=paths))
    return found


def _kind(file: KerasFile, paths: dict[str, str]) -> str:
    """The class of a legacy layer, by the roles and the shape of its weights."""
    if "moving_mean" in paths:
        return "BatchNormalization"
    kernel = file.tensors[paths["kernel"]] if "kernel" in paths else None
    if "depthwise_kernel" in paths:
        return "DepthwiseConv2D" if "pointwise_kernel" not in paths else ""
    if kernel is None:
        return ""
    if kernel.ndim != 4:
        return "Dense"
    return "DepthwiseConv2D" if kernel.shape[0] > 1 and kernel.shape[3] == 1 else "Conv2D"


def _keras_3_layers(file: KerasFile) -> list[StoredLayer]:
    """The layers of each class in their order: layers/conv2d, layers/conv2d_1 ..., nested models included."""
    kinds = {snake_case(kind): kind for kind in ROLES}
    groups: dict[str, dict[int, str]] = defaultdict(dict)
    for path in file.tensors:
        group, _, index = path.rpartition("/vars/")
        groups[group][int(index) if index.isdigit() else -1] = path
    found = []
    for group in sorted(groups, key=_counted):
        kind = kinds.get(re.sub(r"_\d+$", "", group.rsplit("/", 1)[-1]), "")
        stored = [groups[group][index] for index in sorted(groups[group])]
        roles = ROLES.get(kind, ())
        paths = dict(zip(roles, stored)) if len(stored) <= len(roles) else {}
        found.append(StoredLayer(name=file.names.get(group, ""), kind=kind if paths else "", paths=paths))
    return found


def _counted(group: str) -> list[tuple[str, int]]:
    """A key by which layers/conv2d_2 comes before layers/conv2d_10."""
    found = []
    for part in group.split("/"):
        match = re.fullmatch(r"(.+?)_(\d+)", part)
        found.append((match[1], int(match[2])) if match else (part, 0))
    return found
