"""Keras weights without their network: the one architecture of keras.applications whose layers and shapes all fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...arch.adapt import with_in_channels
from ...arch.registry import create_spec
from ...arch.spec import Block, Head, Norm, Spec
from ...errors import UserError
from ..recognise.match import find_architecture, parts
from ..recognised import Recognised
from .files import KerasFile
from .layouts import to_torch
from .names import Entry, entries
from .stock import Stock, StoredLayer, stored_layers
from .tensors import check_float

PUBLISHED = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mobilenet_v3_small_minimal",
    "mobilenet_v3_large_minimal",
)
EPS = 1e-3  # of every BatchNormalization in keras.applications' MobileNets
MOMENTUM = {1: 0.01, 2: 0.001, 3: 0.001}  # torch's, 1 - Keras': 0.99 by default in V1, 0.999 written out in V2 and V3
RESOLUTION = 224

_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_AUTOMATIC = re.compile(r"(depthwise_|separable_)?conv2d(_\d+)?")


def recognise_weights(file: KerasFile, where: str) -> Recognised:
    """The network that the weights are of. Raises UserError, one line, unless exactly one fits and takes them all."""
    for name in file.tensors:
        check_float(file, name, where)
    layers = stored_layers(file)
    fits = [fit for name in PUBLISHED if (fit := _fit(name, file, layers))]
    if len(fits) != 1:
        convolutions = sum(layer.kind != "BatchNormalization" for layer in layers)
        raise UserError(
            f"{where}: weights alone, of {convolutions} convolutions and linear layers, which fit "
            f"{'several MobileNets' if fits else 'no MobileNet'} of keras.applications; save the whole model instead"
        )
    spec, taken = fits[0]
    _refuse_automatic(taken, where)
    return _recognised(file, where, spec, taken)


def _refuse_automatic(taken: list[tuple[Entry, StoredLayer]], where: str) -> None:
    """Raises UserError where Keras counted the names: such a network is somebody's own, its activations unknown."""
    name = taken[0][1].name
    if _AUTOMATIC.fullmatch(name):
        raise UserError(
            f"{where}: weights alone, and layers named by Keras ({name!r}): nothing says which activations and padding "
            "belong to them; save the whole model instead"
        )


# One architecture against the file --------------------------------------------------------------------------------


def _fit(name: str, file: KerasFile, layers: list[StoredLayer]) -> tuple[Spec, list[tuple[Entry, StoredLayer]]] | None:
    """The Spec with the file's channels, and each of its Keras layers with the file's; None where one does not fit."""
    published = create_spec(name, classes=0, profile="authors")
    skeleton = replace(published, head=replace(published.head, c_hidden=0, act="identity"))
    stock = Stock(layers, file.legacy)
    taken: list[tuple[Entry, StoredLayer]] = []
    for entry in entries(skeleton):
        layer = stock.take(entry.kind)
        if layer is None:
            return None
        taken.append((entry, layer))
    shapes = {entry.key: _torch_shape(file, layer) for entry, layer in taken if entry.kind != "BatchNormalization"}
    try:
        skeleton = with_in_channels(skeleton, shapes["blocks.0.conv.conv"][1])
        blocks = tuple(_sized(block, index, shapes) for index, block in enumerate(skeleton.blocks))
        head = _head(file, published.head, skeleton.generation, blocks[-1].c_out, stock.rest())
        if head is None:
            return None
        spec = replace(skeleton, blocks=blocks, head=head, norm=Norm(eps=EPS, momentum=MOMENTUM[skeleton.generation]))
    except UserError:  # channels that do not follow each other
        return None
    rest = dict(zip([entry.key for entry in entries(spec)][len(taken) :], stock.rest()))
    taken += [(entry, rest[entry.key]) for entry in entries(spec)[len(taken) :]]
    return (spec, taken) if _all_fit(file, spec, taken) else None


def _torch_shape(file: KerasFile, layer: StoredLayer) -> tuple[int, ...]:
    return to_torch(layer.kind, file.tensors[layer.kernel]).shape


def _sized(block: Block, index: int, shapes: dict[str, tuple[int, ...]]) -> Block:
    """The block with the channels and kernels of its tensors."""
    names = [name for name, *_ in parts(block)]
    first, last = (shapes[f"blocks.{index}.{names[at]}.conv"] for at in (0, -1))
    middle = shapes.get(f"blocks.{index}.depthwise.conv", last)
    c_in = _channels_before(index, shapes) if names[0] == "depthwise" else first[1]
    squeeze = shapes.get(f"blocks.{index}.se.reduce")
    return replace(
        block,
        c_in=c_in,
        c_mid=middle[0],
        c_out=last[0],
        k_mid=middle[2],
        residual=block.linear and block.stride == 1 and c_in == last[0],
        c_se=squeeze[0] if squeeze else 0,
    )


def _channels_before(index: int, shapes: dict[str, tuple[int, ...]]) -> int:
    """What the block before gives: a depthwise kernel does not tell its input channels from its filters."""
    before = [shape for key, shape in shapes.items() if key.startswith(f"blocks.{index - 1}.")]
    return before[-1][0]


def _head(file: KerasFile, published: Head, generation: int, c_in: int, rest: list[StoredLayer]) -> Head | None:
    """The head for what follows the blocks: nothing, a classifier, V3's hidden layer, or both. None: anything else."""
    if len(rest) > 2 or any(layer.kind not in ("Conv2D", "Dense") for layer in rest):
        return None
    sizes = [_torch_shape(file, layer)[0] for layer in rest]
    hidden = len(rest) == 2 or (bool(rest) and rest[0].name.lower() == "conv_2")
    if hidden and generation != 3:
        return None
    classifier = rest[1:] if hidden else rest
    return replace(
        published,
        c_in=c_in,
        c_hidden=sizes[0] if hidden else 0,
        act=published.act if hidden else "identity",
        classes=sizes[-1] if classifier else 0,
        bias=not classifier or "bias" in classifier[0].paths,
    )


def _all_fit(file: KerasFile, spec: Spec, taken: list[tuple[Entry, StoredLayer]]) -> bool:
    """Whether every tensor has the shape that the Spec asks for, and none is missing or too many."""
    if len(taken) != len(entries(spec)):
        return False
    sizes = _sizes(spec)
    for entry, layer in taken:
        found = {role: file.tensors[path].shape for role, path in layer.paths.items()}
        if entry.kind == "BatchNormalization":
            outputs = sizes[entry.key.replace(".norm", ".conv")][2]
            wanted: dict[str, tuple[int, ...]] = dict.fromkeys(_NORM, (outputs,))
        else:
            kernel, c_in, c_out, groups = sizes[entry.key]
            shape = (kernel, kernel, groups, c_out // groups) if groups > 1 else (kernel, kernel, c_in, c_out)
            wanted = {"kernel": shape[2:] if layer.kind == "Dense" else shape}
            wanted |= {"bias": (c_out,)} if entry.bias else {}
            found = {role.removeprefix("depthwise_"): shape for role, shape in found.items()}
        if found != wanted:
            return False
    return True


def _sizes(spec: Spec) -> dict[str, tuple[int, int, int, int]]:
    """(kernel, channels in, channels out, groups) of each convolution of our state dict."""
    sizes = {}
    for index, block in enumerate(spec.blocks):
        for part, *size in parts(block):
            sizes[f"blocks.{index}.{part}.conv"] = (size[0], size[1], size[2], size[3])
        sizes[f"blocks.{index}.se.reduce"] = (1, block.c_mid, block.c_se, 1)
        sizes[f"blocks.{index}.se.expand"] = (1, block.c_se, block.c_mid, 1)
    head = spec.head
    sizes["head.hidden.conv"] = (1, head.c_in, head.c_hidden, 1)
    sizes["head.classifier"] = (1, head.c_embedding, head.classes, 1)
    return sizes


# What comes out ---------------------------------------------------------------------------------------------------


def _recognised(file: KerasFile, where: str, spec: Spec, taken: list[tuple[Entry, StoredLayer]]) -> Recognised:
    known = find_architecture(spec.blocks, Head(c_in=spec.head.c_in, classes=0))
    resolution, said = _resolution(where)
    spec = replace(
        spec,
        name=known.name if known else spec.name,
        width=known.width if known else 1.0,
        preprocessing=replace(spec.preprocessing, resolution=resolution),
    )
    state: dict[str, np.ndarray] = {}
    for entry, layer in taken:
        state |= _tensors(file, entry, layer)
    used = tuple(path for _, layer in taken for path in layer.paths.values())
    rest = sorted(set(file.tensors) - set(used))
    if rest:
        raise UserError(f"{where}: {len(rest)} tensors would be left over, {rest[0]!r} first")
    facts = {
        "architecture": f"{spec.name}, generation {spec.generation}, "
        + (f"width {spec.width:g}" if known else "channels of its own"),
        "resolution": f"{resolution}, {said}",
        "classes": str(spec.head.classes) if spec.head.classes else "none: it ends in features",
        "padding": "TensorFlow's SAME, not in the file; keras.applications",
        "BatchNorm": f"epsilon {EPS:g}, not in the file; keras.applications",
        "normalisation": "(x - 127.5) / 127.5, not in the file; keras.applications",
        "layer names": _names_fact(taken),
    }
    return Recognised(
        format=file.kind,
        spec=spec,
        state=state,
        used=used,
        set_aside=file.set_aside,
        facts=facts,
    )


def _tensors(file: KerasFile, entry: Entry, layer: StoredLayer) -> dict[str, np.ndarray]:
    """The layer's tensors under our names, float32."""
    stored = {role: np.asarray(file.tensors[path], np.float32) for role, path in layer.paths.items()}
    if entry.kind == "BatchNormalization":
        found = {f"{entry.key}.{ours}": stored[theirs] for theirs, ours in _NORM.items()}
        return found | {f"{entry.key}.num_batches_tracked": np.array(0, np.int64)}
    weight = np.ascontiguousarray(to_torch(layer.kind, file.tensors[layer.kernel]), np.float32)
    if entry.key == "head.classifier":
        weight = weight.reshape(weight.shape[:2])
    elif weight.ndim == 2:
        weight = weight[:, :, None, None]
    found = {f"{entry.key}.weight": weight}
    return found | ({f"{entry.key}.bias": stored["bias"]} if "bias" in stored else {})


def _resolution(where: str) -> tuple[int, str]:
    """The input size that a published file's name states (mobilenet_1_0_128_tf.h5), else the usual one."""
    match = re.search(r"_(96|128|160|192|224)(?=[_.])", Path(where).name)
    return (int(match[1]), "by the file's name") if match else (RESOLUTION, "not in the file; keras.applications")


def _names_fact(taken: list[tuple[Entry, StoredLayer]]) -> str:
    names = [(_plain(entry.name), _plain(layer.name)) for entry, layer in taken]
    if all(ours == theirs for ours, theirs in names):
        return "those of keras.applications"
    if not any(theirs for _, theirs in names):
        return "none in the file: taken by class, order and shape"
    return "of their own: taken by order and shape, as keras.applications does; activations are its"


def _plain(name: str) -> str:
    """A layer's name without what Keras' versions spell differently: Conv/BatchNorm and conv_bn, Logits of V2."""
    return name.lower().replace("/", "_").replace("batchnorm", "bn")
