"""Which reader a file is for, and the file as a network of ours, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .graph import Source
from .normalise import with_normalisation, with_usual_crop
from .recognise import recognise
from .recognised import Recognised

# uint8 RGB (N, R, R, 3) -> float32 (N, outputs), before any softmax, in the source's own runtime
Reference = Callable[[np.ndarray], np.ndarray]
READERS = ("tflite", "caffe", "keras", "tfjs", "state", "onnx")  # in the order in which they are asked
KNOWN = "TFLite, Keras (.h5, .keras, .weights.h5), ONNX, TF.js, Caffe, timm and torchvision (.safetensors, .pth)"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published network, read: what it is, and its own runtime where that is installed.

    `runtime` names it. `reference` opens it on demand; None where there is none for the format.
    """

    paths: tuple[Path, ...]
    found: Recognised
    runtime: str
    reference: Callable[[], Reference | None] = field(repr=False)


def read_weights(
    paths: Sequence[str | os.PathLike[str]],
    *,
    architecture: str | None = None,
    backbone: bool = False,
    normalise: str | None = None,
) -> Published:
    """The network in a published file (or the two parts of one).

    `architecture` is the library's own name for files that hold tensors alone; `normalise` names what a file leaves
    open (half, unit, imagenet, raw). Raises UserError, one line, for what is missing, damaged, unsafe or unknown.
    """
    files = tuple(Path(path) for path in paths)
    for path in files:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
    if not 1 <= len(files) <= 2:
        raise UserError(f"{len(files)} files named; a network has one, or two parts")
    published = _read(files, architecture, backbone)
    if normalise is not None:
        published = replace(published, found=with_normalisation(published.found, normalise))
    return published


def is_weights(path: Path) -> bool:
    """Whether a reader takes the file or folder for one of its own; nothing but its beginning is read."""
    return any(_reader(name).matches(path) for name in READERS)


def _reader(name: str) -> Any:
    """The module of a format: `matches` and `read`, and `open_reference` where its runtime can run here."""
    return import_module(f"{__package__}.{name}")


def _read(files: tuple[Path, ...], architecture: str | None, backbone: bool) -> Published:
    name = next((name for name in READERS if any(_reader(name).matches(path) for path in files)), None)
    if name is None:
        raise UserError(f"{files[0]}: no file of weights that is known here; known: {KNOWN}")
    if name == "caffe":
        return _caffe(files, backbone)
    if name == "tflite" and all(_reader(name).matches(path) for path in files):
        return _tflite(files, backbone)
    if len(files) == 2:
        raise UserError(f"{files[0]}, {files[1]}: no network in two parts; TFLite and Caffe have them")
    if name == "keras":
        return _keras(files[0], backbone)
    if name == "state":
        return _state(files[0], architecture, backbone)
    reader = _reader(name)
    source = reader.read(files[0])
    runtime = {"onnx": "onnxruntime", "tfjs": "TensorFlow.js"}[name]
    opens = getattr(reader, "open_reference", None)
    return _from_graph(files, source, backbone, runtime, lambda: opens(files[0], source) if opens else None)


def _from_graph(
    files: tuple[Path, ...], source: Source, backbone: bool, runtime: str, reference: Callable[[], Reference | None]
) -> Published:
    found = with_usual_crop(recognise(source, str(files[0]), backbone=backbone))
    return Published(paths=files, found=found, runtime=runtime, reference=(lambda: None) if backbone else reference)


def _tflite(files: tuple[Path, ...], backbone: bool) -> Published:
    from . import tflite
    from .tflite_reference import open_head_reference, open_reference

    sources = [tflite.read(path) for path in files]
    if len(sources) == 1:
        return _from_graph(files, sources[0], backbone, "LiteRT", lambda: open_reference(files[0], sources[0]))
    from . import join

    joined = join.join(sources[0], sources[1])

    def chained() -> Reference | None:
        body = open_reference(files[0], sources[0])
        head = open_head_reference(files[1], sources[1])
        return None if body is None or head is None else join.join_references(body, head)

    return _from_graph(files, joined, backbone, "LiteRT", chained)


def _keras(path: Path, backbone: bool) -> Published:
    from . import keras

    read = keras.read(path)
    if isinstance(read, Source):
        return _from_graph((path,), read, backbone, "Keras", lambda: keras.open_reference(path, read))
    return Published(
        paths=(path,), found=with_usual_crop(read), runtime="Keras", reference=lambda: keras.open_reference(path, read)
    )


def _state(path: Path, architecture: str | None, backbone: bool) -> Published:
    from . import timm, torchvision

    if torchvision.matches(path):
        found = torchvision.read(path, architecture, backbone=backbone)
        return Published(paths=(path,), found=found, runtime="torchvision", reference=lambda: None)
    found = timm.read(path, architecture)
    return Published(paths=(path,), found=found, runtime="timm", reference=lambda: None)


def _caffe(files: tuple[Path, ...], backbone: bool) -> Published:
    from . import caffe

    source = caffe.read(*files)
    given = source.normalisation

    def reference() -> Reference | None:
        run = caffe.open_reference(*files)
        if run is None or given is None:
            return None
        mean, std = np.array(given.mean, np.float32), np.array(given.std, np.float32)

        def answer(images: np.ndarray) -> np.ndarray:
            pixels = (images.astype(np.float32) - mean) / std
            pixels = pixels[..., ::-1] if given.bgr else pixels
            values = run(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            return np.asarray(values.reshape(len(images), -1), np.float32)

        return answer

    return _from_graph(files, source, backbone, "OpenCV", reference)
