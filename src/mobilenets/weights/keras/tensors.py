"""Which tensors of a Keras file are whose: the layers' weights by role, for each of Keras' layouts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from ...errors import UserError
from .config import MODELS, layers_of, name_of
from .files import KerasFile
from .layers import Path, Stored

ROLES = {
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("depthwise_kernel", "bias"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance", "count"),
}


def weights_of(file: KerasFile, where: str) -> Callable[[Path], dict[str, Stored]]:
    """The function that `config.graph_of` asks for a layer's tensors.

    It raises UserError for a tensor that is no floating point: Keras' own quantisation.
    """
    found = _by_name(file) if file.legacy else _by_position(file)

    def weights(path: Path) -> dict[str, Stored]:
        names = found(path)
        for name in names.values():
            check_float(file, name, where)
        return {role: Stored(name, file.tensors[name]) for role, name in names.items()}

    return weights


def check_float(file: KerasFile, name: str, where: str) -> None:
    """Raises UserError unless the tensor is a floating-point one, or a counter."""
    kind = file.tensors[name].dtype
    if kind.kind != "f" and file.tensors[name].ndim:
        raise UserError(f"{where}: the tensor {name!r} is {kind}, quantised by Keras; allowed: floating point")


def role_of(weight_name: str) -> str:
    """The role at the end of a legacy weight's name: conv1/kernel:0 is a kernel."""
    return weight_name.rsplit("/", 1)[-1].split(":")[0]


def _by_name(file: KerasFile) -> Callable[[Path], dict[str, str]]:
    """Legacy: a group for each layer of the outermost model; inner layers by the scope in their weights' names."""
    groups = dict(file.layers)

    def find(path: Path) -> dict[str, str]:
        weights = groups.get(path[0], ())
        if len(path) > 1:
            scopes = [(name.rpartition("/")[0], name, stored) for name, stored in weights]
            exact = tuple((name, stored) for scope, name, stored in scopes if scope == path[-1])
            within = tuple((name, stored) for scope, name, stored in scopes if scope.endswith(f"/{path[-1]}"))
            weights = exact or within
        return {role_of(name): stored for name, stored in weights}

    return find


def _by_position(file: KerasFile) -> Callable[[Path], dict[str, str]]:
    """Keras 3: layers/conv2d_1/vars/0 is the first weight of the second Conv2D among the model's layers."""
    config = file.config
    assert config is not None

    @cache  # not before the first layer is asked for: by then the configuration is known to be sound
    def places() -> dict[Path, tuple[str, tuple[str, ...]]]:
        return dict(_places(config, (), ""))

    def find(path: Path) -> dict[str, str]:
        if path not in places():
            return {}
        place, roles = places()[path]
        stored = [f"{place}/vars/{index}" for index in range(len(roles))]
        return {role: name for role, name in zip(roles, stored) if name in file.tensors}

    return find


def _places(model: dict[str, Any], path: Path, base: str) -> list[tuple[Path, tuple[str, tuple[str, ...]]]]:
    """The group and the roles of each layer, nested models included."""
    counts: Counter[str] = Counter()
    found = []
    for layer in layers_of(model):
        if str(layer.get("module", "")).startswith("keras.src.ops"):
            continue  # an operator, which is no layer
        kind = layer["class_name"]
        snake = snake_case(kind)
        place = f"{base}layers/{snake}" + (f"_{counts[snake]}" if counts[snake] else "")
        counts[snake] += 1
        here = (*path, name_of(layer))
        if kind in MODELS:
            found += _places(layer, here, f"{place}/")
        else:
            found.append((here, (place, _roles(kind, layer["config"]))))
    return found


def _roles(kind: str, config: dict[str, Any]) -> tuple[str, ...]:
    left_out = {"gamma": config.get("scale", True), "beta": config.get("center", True)}
    return tuple(role for role in ROLES.get(kind, ()) if left_out.get(role, True))


def snake_case(name: str) -> str:
    """The name of a class as Keras writes it into paths: DepthwiseConv2D is depthwise_conv2d."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
