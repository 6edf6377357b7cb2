"""A Keras model configuration (Functional, Sequential, nested; Keras 2 and 3) as a `Graph`, without Keras.

The configuration is data: nothing in it is imported, deserialised or run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from ..graph import Graph
from .kinds import translate
from .layers import LayerCall, Path, Stored, Translator

Weights = Callable[[Path], dict[str, Stored]]

MODELS = ("Functional", "Model", "Sequential")
_CODE = ("Lambda", "__lambda__")


def graph_of(
    config: dict[str, Any],
    weights: Weights,
    tensors: tuple[str, ...],
    *,
    where: str,
    version: str,
    set_aside: dict[str, str] | None = None,
) -> Graph:
    """The graph of a model configuration: {"class_name": "Functional" or "Sequential", "config": {...}}.

    `weights` gives the tensors of a layer by role (kernel, depthwise_kernel, pointwise_kernel, bias, gamma, beta,
    moving_mean, moving_variance, mean, variance, count) in Keras' own layout, each with the file's name for it; the
    layer is named by its path, the names of the nested models it stands in first: ("mobilenet", "conv1"). `tensors`
    names all of the file; `set_aside` those that belong to no network. `version` is the Keras that wrote the file
    ("2.8.0"): hard_sigmoid changed with 3.0. `where` names the file in errors. Raises UserError when the
    configuration is broken, holds code (Lambda layers), or has several inputs.
    """
    refuse_code(config, where)
    translator = Translator(weights, where=where, version=version, channels_first=_channels_first(config))
    try:
        shape = _input_shape(config)
        start = translator.begin("input", shape)
        outputs = _Walk(translator, where).model(config, (), (start,))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: the model configuration is broken ({type(error).__name__}: {error})") from None
    height, width = translator.sizes[start] or (0, 0)
    return Graph(
        nodes=tuple(translator.nodes),
        input=start,
        outputs=outputs,
        channels=translator.channels,
        height=height,
        width=width,
        tensors=tensors,
        set_aside=(set_aside or {}) | translator.set_aside,
    )


def layers_of(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model's configuration, in its order."""
    config = model["config"]
    return config if isinstance(config, list) else config["layers"]  # a Sequential of early Keras 2 is a bare list


def name_of(layer: dict[str, Any]) -> str:
    """The layer's name; in a Sequential it stands inside the layer's own configuration alone."""
    return layer.get("name") or layer["config"]["name"]


def refuse_code(config: Any, where: str) -> None:
    """Raises UserError where a configuration holds marshalled Python code, at any depth."""
    for found in _dicts(config):
        if found.get("class_name") in _CODE:
            inner = found.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            raise UserError(
                f"{where}: the Lambda layer {name or 'inside'!r} holds Python code, which is never run; "
                "allowed: models of Keras' own layers"
            )


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Every dict inside plain data, without recursion: the nesting of a hostile file has no limit."""
    rest = [value]
    while rest:
        found = rest.pop()
        if isinstance(found, dict):
            yield found
            rest.extend(found.values())
        elif isinstance(found, list):
            rest.extend(found)


def _channels_first(config: Any) -> bool:
    return any(found.get("data_format") == "channels_first" for found in _dicts(config))


def _input_shape(model: dict[str, Any]) -> list[int | None]:
    """The shape of the first input found, the batch's dimension included; empty where nothing states it."""
    if not isinstance(model["config"], list) and model["config"].get("build_input_shape"):
        return model["config"]["build_input_shape"]
    for layer in layers_of(model):
        if layer["class_name"] in MODELS:
            shape = _input_shape(layer)
        else:
            shape = layer["config"].get("batch_shape") or layer["config"].get("batch_input_shape") or []
        if shape:
            return shape
    return []


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A reference to what the `node`-th call of a layer gave."""

    layer: str
    node: int
    index: int


class _Walk:
    """Calls the translator for each call of each layer, once what the call takes is there."""

    def __init__(self, translator: Translator, where: str) -> None:
        self.translator, self.where = translator, where

    def model(self, model: dict[str, Any], path: Path, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """The outputs of a (nested) model for the values `inputs`."""
        if model["class_name"] == "Sequential":
            return self._sequential(model, path, inputs)
        if model["class_name"] not in MODELS:
            raise UserError(
                f"{self.where}: a model of class {model['class_name']!r}, whose layers the file does not list; "
                "allowed: Functional and Sequential models"
            )
        return self._functional(model, path, inputs)

    def _sequential(self, model: dict[str, Any], path: Path, inputs: tuple[str, ...]) -> tuple[str, ...]:
        for layer in layers_of(model):
            if layer["class_name"] != "InputLayer":
                inputs = self._call(layer, (*path, name_of(layer)), 0, list(inputs))
        return inputs

    def _functional(self, model: dict[str, Any], path: Path, inputs: tuple[str, ...]) -> tuple[str, ...]:
        config = model["config"]
        starts = _tensors(config["input_layers"])
        if len(starts) != len(inputs):
            raise UserError(f"{self.where}: a model of {len(starts)} inputs; allowed: one image")
        outputs = _tensors(config["output_layers"])
        layers = {name_of(layer): layer for layer in layers_of(model)}
        calls = {
            (name, index): _arguments(call)
            for name, layer in layers.items()
            for index, call in enumerate(layer.get("inbound_nodes") or [])
            if layer["class_name"] != "InputLayer"
        }
        offsets = _offsets(layers, [*outputs, *(part for args in calls.values() for part in args)])
        values: dict[tuple[str, int], tuple[str, ...]] = {
            (start.layer, 0): (value,) for start, value in zip(starts, inputs)
        }
        pending = dict(calls)
        while pending:
            ready = [key for key, args in pending.items() if all(_key(x, offsets) in values for x in _refs(args))]
            if not ready:
                raise UserError(f"{self.where}: the layer {next(iter(pending))[0]!r} takes what no layer gives")
            for name, index in ready:
                args = [_resolve(x, offsets, values) for x in pending.pop((name, index))]
                values[name, index] = self._call(layers[name], (*path, name), index, args)
        return tuple(_resolve(x, offsets, values) for x in outputs)

    def _call(self, layer: dict[str, Any], path: Path, index: int, args: list[Any]) -> tuple[str, ...]:
        if layer["class_name"] in MODELS:
            if index:
                raise UserError(f"{self.where}: the nested model {path[-1]!r} is used more than once")
            return self.model(layer, path, tuple(args))
        name = "/".join(path) + (f":{index}" if index else "")
        call = LayerCall(kind=layer["class_name"], config=layer["config"], path=path, name=name, args=tuple(args))
        return (translate(self.translator, call),)


def _tensors(found: Any) -> list[_Tensor]:
    """References in `input_layers` and `output_layers`: [name, node, index], a list or a dict of such."""
    if isinstance(found, dict):
        return [each for part in found.values() for each in _tensors(part)]
    if _is_reference(found):
        return [_Tensor(found[0], found[1], found[2])]
    return [each for part in found for each in _tensors(part)]


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(number, int) for number in value[1:3])
    )


def _arguments(call: Any) -> list[Any]:
    """The tensors and the constants that a call takes, in order, lists of tensors flattened.

    Keras 3 writes {"args": [...], "kwargs": {...}} with tensors as {"class_name": "__keras_tensor__", ...}; Keras 2
    [[name, node, index, kwargs], ...], where a TFOpLambda has its second operand among the kwargs.
    """
    if isinstance(call, dict):
        found = [each for value in call["args"] for each in _operands(value)]
        operands = [value for key, value in call.get("kwargs", {}).items() if key not in ("mask", "training")]
        return found + [each for value in operands for each in _operands(value)]
    parts = [call] if _is_reference(call) else call
    found = [_Tensor(part[0], part[1], part[2]) for part in parts]
    for part in parts:
        if len(part) > 3:
            operands = [value for key, value in part[3].items() if key not in ("mask", "training", "name")]
            found += [each for value in operands for each in _operands(value)]
    return found


def _operands(value: Any) -> list[Any]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return [_Tensor(*value["config"]["keras_history"])]
    if _is_reference(value):
        return [_Tensor(value[0], value[1], value[2])]
    if isinstance(value, list):
        return [each for part in value for each in _operands(part)]
    return [value] if isinstance(value, int | float) else []  # names of modes and the like are no operands


def _refs(args: list[Any]) -> list[_Tensor]:
    return [each for each in args if isinstance(each, _Tensor)]


def _offsets(layers: dict[str, dict[str, Any]], args: list[Any]) -> dict[str, int]:
    """1 for the nested models whose calls are counted from 1: Keras 2 counts the model's own making as call 0."""
    highest: dict[str, int] = {}
    for each in _refs(args):
        highest[each.layer] = max(each.node, highest.get(each.layer, 0))
    return {
        name: int(highest.get(name, 0) == len(layer.get("inbound_nodes") or []) > 0) for name, layer in layers.items()
    }


def _key(tensor: _Tensor, offsets: dict[str, int]) -> tuple[str, int]:
    return tensor.layer, tensor.node - offsets.get(tensor.layer, 0)


def _resolve(value: Any, offsets: dict[str, int], values: dict[tuple[str, int], tuple[str, ...]]) -> Any:
    return values[_key(value, offsets)][value.index] if isinstance(value, _Tensor) else value
