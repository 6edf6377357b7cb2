"""The names and shapes of a network's tensors, and the way between them and another library's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..arch.spec import Block, Spec
from ..errors import UserError
from .state import StateFile

Shape = tuple[int, ...]
COUNTER = "num_batches_tracked"
NORM = ("weight", "bias", "running_mean", "running_var", COUNTER)


class Convolution(NamedTuple):
    """A convolution of a block: its module's name, its weight's shape, and whether BatchNorm follows."""

    part: str
    weight: Shape
    norm: bool


def tensor_shapes(spec: Spec) -> dict[str, Shape]:
    """The shape of every tensor of `build_network(spec).state_dict()`, in its order.

    Raises UserError for a network in its training form, see `nn.reparam`, which other libraries do not have.

    >>> from mobilenets.arch.registry import create_spec
    >>> shapes = tensor_shapes(create_spec("mobilenet_v2", classes=6))
    >>> len(shapes), shapes["blocks.0.conv.conv.weight"], shapes["head.classifier.weight"]
    (314, (32, 3, 3, 3), (6, 1280))
    """
    check_merged(spec)
    shapes: dict[str, Shape] = {}
    for index, block in enumerate(spec.blocks):
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in _block_shapes(block, spec)}
    head = spec.head
    if head.c_hidden:
        normalised = head.hidden_norm and spec.norm.kind == "batch"
        weight = (head.c_hidden, head.c_in, 1, 1)
        shapes |= dict(_convolution("head.hidden", weight, normalised))
    if head.classes:
        shapes["head.classifier.weight"] = (head.outputs, head.c_embedding)
        if head.bias:
            shapes["head.classifier.bias"] = (head.outputs,)
    return shapes


def check_merged(spec: Spec) -> None:
    """Raises UserError unless each convolution is a single one."""
    if spec.reparam:
        raise UserError(
            f"{spec.name}: its convolutions have branches (reparam {spec.reparam}) where single ones are needed; "
            "nn.deployed folds them"
        )


def _block_shapes(block: Block, spec: Spec) -> Iterator[tuple[str, Shape]]:
    if block.kind == "attention":
        yield from _attention_shapes(block, spec)
        return
    for convolution in convolutions(block, spec):
        if convolution.part in ("pointwise", "project") and block.c_se:
            yield from (
                ("se.reduce.weight", (block.c_se, block.c_mid, 1, 1)),
                ("se.reduce.bias", (block.c_se,)),
                ("se.expand.weight", (block.c_mid, block.c_se, 1, 1)),
                ("se.expand.bias", (block.c_mid,)),
            )
        yield from _convolution(convolution.part, convolution.weight, convolution.norm)
    if block.layer_scale and block.kind == "universal":
        yield "layer_scale.gamma", (block.c_out,)


def convolutions(block: Block, spec: Spec) -> list[Convolution]:
    """The convolutions of a block that is no attention, in the order of the network."""
    c_in, c_mid, c_out, k = block.c_in, block.c_mid, block.c_out, block.k_mid
    parts: dict[str, list[tuple[str, Shape]]] = {
        "conv": [("conv", (c_out, c_in, k, k))],
        "separable": [("depthwise", (c_mid, 1, k, k)), ("pointwise", (c_out, c_mid, 1, 1))],
        "inverted": [
            ("expand", (c_mid, c_in, 1, 1)),
            ("depthwise", (c_mid, 1, k, k)),
            ("project", (c_out, c_mid, 1, 1)),
        ],
        "fused": [("expand", (c_mid, c_in, k, k)), ("project", (c_out, c_mid, 1, 1))],
        "universal": [
            *([("depthwise_start", (c_in, 1, block.k_start, block.k_start))] if block.k_start else []),
            ("expand", (c_mid, c_in, 1, 1)),
            *([("depthwise_mid", (c_mid, 1, k, k))] if k else []),
            ("project", (c_out, c_mid, 1, 1)),
        ],
    }
    batch = spec.norm.kind == "batch"
    return [Convolution(part, shape, batch and part not in block.folded) for part, shape in parts[block.kind]]


def _attention_shapes(block: Block, spec: Spec) -> Iterator[tuple[str, Shape]]:
    c_in, dim = block.c_in, block.key_dim
    yield from _norm("norm", c_in)
    yield "query.weight", (block.c_mid, c_in, 1, 1)
    for part in ("key", "value"):
        if block.k_kv:
            normalised = spec.norm.kind == "batch" and f"{part}_down" not in block.folded
            yield from _convolution(f"{part}_down", (c_in, 1, block.k_kv, block.k_kv), normalised)
        yield f"{part}.weight", (dim, c_in, 1, 1)
    yield "output.weight", (block.c_out, block.c_mid, 1, 1)
    if block.layer_scale:
        yield "layer_scale.gamma", (block.c_out,)


def _convolution(name: str, weight: Shape, normalised: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.conv.weight", weight
    if normalised:
        yield from _norm(f"{name}.norm", weight[0])
    else:
        yield f"{name}.conv.bias", (weight[0],)


def _norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for leaf in NORM:
        yield f"{name}.{leaf}", () if leaf == COUNTER else (channels,)


def expected_shapes(spec: Spec, names: Mapping[str, str]) -> dict[str, Shape]:
    """Shapes by the other library's names; `names` leads from ours to theirs and covers the network."""
    return {names[own]: shape for own, shape in tensor_shapes(spec).items()}


def faults(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[str]:
    """What keeps a file's tensors from being the expected ones, a sentence each; none where they fit.

    Axes of size 1 may differ (a linear layer or a 1x1 convolution); BatchNorm's step counters may be absent.
    """
    missing = [name for name in expected if name not in found and not name.endswith(COUNTER)]
    sentences = [f"{name} is missing" for name in missing]
    sentences += [f"{name} is one too many" for name in found if name not in expected]
    for name, shape in expected.items():
        if name in found and _squeezed(found[name]) != _squeezed(shape):
            sentences.append(f"{name} has shape {found[name]} where {shape} is needed")
    return sentences


def _squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def check_fit(file: StateFile, expected: Mapping[str, Shape], network: str) -> None:
    """Raises UserError, one line, unless the file's tensors are the expected ones of `network`."""
    found = faults(shapes_of(file), expected)
    if found:
        more = f", and {len(found) - 1} more such faults" if len(found) > 1 else ""
        raise UserError(f"{file.path}: not the weights of {network}: {found[0]}{more}")


def misfit(file: StateFile, library: str, nearest: str, found: list[str]) -> UserError:
    """The error that no network of the library has the file's tensors; `found` are the faults of the nearest one."""
    shapes = shapes_of(file)
    if "blocks.0.conv.conv.weight" in shapes:
        return UserError(f"{file.path}: weights of a run of this program; name the run's folder")
    if len(found) > len(shapes) // 2:
        some = ", ".join(list(shapes)[:3])
        return UserError(f"{file.path}: tensors of no MobileNet of timm or torchvision ({some}, ...)")
    more = f", and {len(found) - 1} more such faults" if len(found) > 1 else ""
    return UserError(
        f"{file.path}: no MobileNet of {library} has these tensors; nearest is {nearest}, but {found[0]}{more}"
    )


def shapes_of(file: StateFile) -> dict[str, Shape]:
    """The shapes of a file's tensors by name."""
    return {name: array.shape for name, array in file.tensors.items()}


def ours(file: StateFile, spec: Spec, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The file's tensors under our names and in our shapes, after `check_fit`; absent step counters are 0.

    Raises UserError where a weight is not of floating point.
    """
    state = {}
    for own, shape in tensor_shapes(spec).items():
        theirs = file.tensors.get(names[own])
        if own.endswith(COUNTER):
            state[own] = np.array(0 if theirs is None else theirs.reshape(()), np.int64)
            continue
        assert theirs is not None
        if theirs.dtype != np.float32:
            raise UserError(f"{file.path}: {names[own]} is {theirs.dtype}; allowed is floating point")
        state[own] = np.ascontiguousarray(theirs.reshape(shape))
    return state


def check_state(spec: Spec, state: Mapping[str, np.ndarray]) -> None:
    """Raises UserError unless `state` has every tensor of the network in its shape, and no other."""
    found = {name: tuple(array.shape) for name, array in state.items()}
    wrong = faults(found, tensor_shapes(spec))
    if wrong:
        raise UserError(f"the weights do not fit {spec.name}: {wrong[0]}")
