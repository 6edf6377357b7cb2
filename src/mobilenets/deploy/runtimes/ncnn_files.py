"""ncnn's two files: the text that lists layers (.param), and their numbers one after another (.bin).

ncnn trusts both: a process that runs a truncated .bin ends in a segmentation fault. So they are compared first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import UserError

MAGIC = "7767517"
FLOAT32_FLAG, FLOAT16_FLAG = 0, 0x01306B47
WITHOUT_NUMBERS = {
    *("Input", "BinaryOp", "UnaryOp", "HardSwish", "HardSigmoid", "ReLU", "Clip", "Sigmoid"),
    *("Swish", "GELU", "Softmax", "Split", "Pooling", "Reshape", "Flatten", "Permute", "ExpandDims"),
    *("Squeeze", "Tile", "SDPA", "MatMul", "Padding", "Reduction", "Noop", "Dropout"),
}


class Layer(NamedTuple):
    """A line of a .param: what it takes and gives by name, and its numbered parameters as they are written."""

    kind: str
    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    parameters: dict[int, str]

    def number(self, index: int) -> int:
        """A whole-number parameter; 0 where it is left out."""
        return int(self.parameters.get(index, "0"))


@dataclass(frozen=True)
class Weights:
    """Numbers of a layer in a .bin, float32. `flagged`: four bytes before them say how they are stored."""

    layer: Layer
    flagged: bool
    half: bool
    values: np.ndarray


def read_param(path: Path) -> list[Layer]:
    """The layers of a .param. Raises UserError, naming the line, for anything that ncnn would stumble over."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text that ncnn reads") from None
    if not lines or lines[0].strip() != MAGIC:
        raise UserError(f"{path}: not a .param of ncnn, its first line is not {MAGIC}")
    layers: list[Layer] = []
    known: set[str] = set()
    for number, line in enumerate(lines[2:], 3):
        try:
            layer = _layer(line)
        except (ValueError, IndexError):
            raise UserError(f"{path}: line {number} is not a layer of ncnn") from None
        missing = set(layer.takes) - known
        if missing:
            raise UserError(f"{path}: line {number} takes {missing.pop()!r}, which no line before it gives")
        known.update(layer.gives)
        layers.append(layer)
    stated = lines[1].split() if len(lines) > 1 else []
    if stated != [str(len(layers)), str(sum(len(layer.gives) for layer in layers))]:
        raise UserError(f"{path}: states {' and '.join(stated) or 'no'} layers and values, holds others: truncated")
    return layers


def _layer(line: str) -> Layer:
    kind, name, count_in, count_out, *words = line.split()
    takes, gives = int(count_in), int(count_out)
    named = words[: takes + gives]
    if len(named) != takes + gives or any("=" in word for word in named):
        raise ValueError(line)
    pairs = (word.split("=") for word in words[takes + gives :])
    return Layer(kind, name, tuple(named[:takes]), tuple(named[takes:]), {int(key): value for key, value in pairs})


def read_bin(path: Path, layers: list[Layer]) -> list[Weights]:
    """What a .bin holds for those layers. Raises UserError when it does not end where they end."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    found, at = [], 0
    for layer in layers:
        for flagged, count in _counts(path, layer):
            half = False
            if flagged:
                flag = int.from_bytes(data[at : at + 4], "little")
                if flag not in (FLOAT32_FLAG, FLOAT16_FLAG):
                    raise UserError(f"{path}: the numbers of layer {layer.name} are stored in no way known here")
                half, at = flag == FLOAT16_FLAG, at + 4
            width = 2 if half else 4
            raw = data[at : at + width * count]
            if len(raw) < width * count:
                raise UserError(f"{path}: ends within the numbers of layer {layer.name}: truncated")
            values = np.frombuffer(raw, "<f2" if half else "<f4").astype(np.float32)
            found.append(Weights(layer, flagged, half, values))
            at += width * count
            at += -at % 4
    if at != len(data):
        raise UserError(f"{path}: has {len(data)} bytes where its .param needs {at}")
    return found


def written(weights: list[Weights], *, half: bool) -> bytes:
    """The bytes of a .bin: flagged numbers as float16, rounded to nearest, or as float32; the others are float32."""
    parts = []
    for each in weights:
        stored = each.values.astype("<f2" if half and each.flagged else "<f4").tobytes()
        flag = FLOAT16_FLAG if half else FLOAT32_FLAG
        parts += [flag.to_bytes(4, "little") if each.flagged else b"", stored, bytes(-len(stored) % 4)]
    return b"".join(parts)


def _counts(path: Path, layer: Layer) -> Iterator[tuple[bool, int]]:
    """For each piece of a layer in the .bin: whether a flag stands before it, and how many numbers it has."""
    if layer.kind in ("Convolution", "ConvolutionDepthWise"):
        yield True, layer.number(6)
        yield from [(False, layer.number(0))] * layer.number(5)
    elif layer.kind == "InnerProduct":
        yield True, layer.number(2)
        yield from [(False, layer.number(0))] * layer.number(1)
    elif layer.kind == "BatchNorm":
        yield from [(False, layer.number(0))] * 4
    elif layer.kind == "MemoryData":
        sides = [layer.number(index) for index in (0, 1, 11, 2)]
        yield False, int(np.prod([side for side in sides if side]))
    elif layer.kind not in WITHOUT_NUMBERS:
        raise UserError(f"{path}: layer {layer.name} is a {layer.kind}, which no file of a bundle has")
