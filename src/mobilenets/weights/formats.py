"""Which reader a file is for, and the file as a network of ours, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .catalog import find_where_no_file_is
from .graph import Source
from .hub import fetch
from .normalise import normalised_source, with_normalisation, with_usual_crop
from .recognise import recognise
from .recognised import Recognised

# uint8 RGB (N, R, R, 3) -> float32 (N, outputs), before any softmax, in the source's own runtime
Reference = Callable[[np.ndarray], np.ndarray]
READERS = ("tflite", "caffe", "keras", "tfjs", "state", "onnx")  # in the order in which they are asked
_RUNTIMES = {  # what can be installed to run the source: its module and our extra
    "LiteRT": ("ai_edge_litert", "litert"),
    "Keras": ("keras", "keras"),
    "onnxruntime": ("onnxruntime", "onnx"),
}
KNOWN = "TFLite, Keras (.h5, .keras, .weights.h5), ONNX, TF.js, Caffe, timm and torchvision (.safetensors, .pth)"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published network, read: what it is, and its own runtime where that is installed.

    `runtime` names it. `reference` opens it on demand; None where there is none for the format.
    """

    paths: tuple[Path, ...]
    found: Recognised
    runtime: str
    compared: str = "whole"  # or "backbone"
    reference: Callable[[], Reference | None] = field(repr=False)

    @property
    def unproved(self) -> str:
        """Why nothing could be compared with the source, where nothing was."""
        if self.compared == "backbone":
            return "a backbone's answers are not the file's"
        module, extra = _RUNTIMES.get(self.runtime, ("", ""))
        if module and find_spec(module) is None:
            return f'{self.runtime} is not installed: pip install "mobilenets[{extra}]"'
        return f"{self.runtime} does not run this file" if module else f"{self.runtime} does not run here"


def read_weights(
    paths: Sequence[str | os.PathLike[str]],
    *,
    architecture: str | None = None,
    backbone: bool = False,
    normalise: str | None = None,
) -> Published:
    """The network in a published file (or the two parts of one), or of that name in the catalogue.

    `architecture` is the library's own name for files that hold tensors alone; `normalise` names what a file leaves
    open (half, unit, imagenet, raw). Raises UserError, one line, for what is missing, damaged, unsafe or unknown.
    """
    if not 1 <= len(paths) <= 2:
        raise UserError(f"{len(paths)} files named; a network has one, or two parts")
    files = tuple(Path(path) for path in paths)
    if len(files) == 1 and not files[0].exists() and len(files[0].parts) == 1:
        entry = find_where_no_file_is(str(files[0]))
        files, architecture = (fetch(entry),), architecture or entry.model
    for path in files:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
    return _read(files, _Wishes(architecture, backbone, normalise))


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the user says of a file beyond its name."""

    architecture: str | None
    backbone: bool
    normalise: str | None

    def of_graph(self, source: Source) -> Source:
        """The source with the normalisation that was asked for, so that its own runtime is fed with it too."""
        return source if self.normalise is None else normalised_source(source, self.normalise)

    def of_tensors(self, found: Recognised) -> Recognised:
        """The same of a file that holds tensors alone."""
        return found if self.normalise is None else with_normalisation(found, self.normalise)


def is_weights(path: Path) -> bool:
    """Whether a reader takes the file or folder for one of its own; nothing but its beginning is read."""
    return any(_reader(name).matches(path) for name in READERS)


def _reader(name: str) -> Any:
    """The module of a format: `matches` and `read`, and `open_reference` where its runtime can run here."""
    return import_module(f"{__package__}.{name}")


def _read(files: tuple[Path, ...], wishes: _Wishes) -> Published:
    if (files[0] / "recipe.json").is_file() or (files[0] / "bundle.json").is_file():
        raise UserError(f"{files[0]}: is a network of ours already; --to keras, timm or torchvision writes a run out")
    name = next((name for name in READERS if any(_reader(name).matches(path) for path in files)), None)
    if name is None:
        raise UserError(f"{files[0]}: no file of weights that is known here{_inside(files[0])}; known: {KNOWN}")
    if name == "caffe":
        return _caffe(files, wishes)
    if name == "tflite" and all(_reader(name).matches(path) for path in files):
        return _tflite(files, wishes)
    if len(files) == 2:
        raise UserError(f"{files[0]}, {files[1]}: no network in two parts; TFLite and Caffe have them")
    if name == "keras":
        return _keras(files[0], wishes)
    if name == "state":
        return _state(files[0], wishes)
    reader = _reader(name)
    source = wishes.of_graph(reader.read(files[0]))
    runtime = {"onnx": "onnxruntime", "tfjs": "TensorFlow.js"}[name]
    opens = getattr(reader, "open_reference", None)
    return _from_graph(files, source, wishes, runtime, lambda: opens(files[0], source) if opens else None)


def _inside(folder: Path) -> str:
    """What in a folder could have been meant, in words."""
    if not folder.is_dir():
        return ""
    found = [path.name for path in sorted(folder.iterdir()) if path.is_file() and is_weights(path)]
    return f"; it holds {', '.join(found[:3])}" if found else ""


def _from_graph(
    files: tuple[Path, ...], source: Source, wishes: _Wishes, runtime: str, reference: Callable[[], Reference | None]
) -> Published:
    found = with_usual_crop(recognise(source, str(files[0]), backbone=wishes.backbone))
    opens = (lambda: None) if wishes.backbone else reference  # the file's answer is not the backbone's
    compared = "backbone" if wishes.backbone else "whole"
    paths = source.files or files
    return Published(paths=paths, found=found, runtime=runtime, compared=compared, reference=opens)


def _tflite(files: tuple[Path, ...], wishes: _Wishes) -> Published:
    from . import tflite
    from .tflite.reference import open_head_reference, open_reference

    first = wishes.of_graph(tflite.read(files[0]))
    if len(files) == 1:
        return _from_graph(files, first, wishes, "LiteRT", lambda: open_reference(files[0], first))
    from . import join

    second = tflite.read(files[1])

    def chained() -> Reference | None:
        body, head = open_reference(files[0], first), open_head_reference(files[1], second)
        return None if body is None or head is None else join.join_references(body, head)

    return _from_graph(files, join.join(first, second), wishes, "LiteRT", chained)


def _keras(path: Path, wishes: _Wishes) -> Published:
    from . import keras

    read = keras.read(path)
    if isinstance(read, Source):
        source = wishes.of_graph(read)
        return _from_graph((path,), source, wishes, "Keras", lambda: keras.open_reference(path, source))
    found = wishes.of_tensors(with_usual_crop(read))
    return Published(paths=(path,), found=found, runtime="Keras", reference=lambda: keras.open_reference(path, found))


def _state(path: Path, wishes: _Wishes) -> Published:
    from . import timm, torchvision
    from .stamped import read_stamped

    stamped = None if wishes.architecture or wishes.backbone else read_stamped(path)
    if stamped is not None:
        return Published(paths=(path,), found=wishes.of_tensors(stamped), runtime="timm", reference=lambda: None)
    library = torchvision if torchvision.matches(path) else timm
    if library is torchvision:
        found = torchvision.read(path, wishes.architecture, backbone=wishes.backbone)
    elif wishes.backbone:
        raise UserError(f"{path}: timm's files hold classifiers alone; --backbone takes the blocks out of a detector")
    else:
        found = timm.read(path, wishes.architecture)
    name = library.__name__.rpartition(".")[2]
    return Published(paths=(path,), found=wishes.of_tensors(found), runtime=name, reference=lambda: None)


def _caffe(files: tuple[Path, ...], wishes: _Wishes) -> Published:
    from . import caffe

    source = wishes.of_graph(caffe.read(*files))
    given = source.normalisation

    def reference() -> Reference | None:
        run = caffe.open_reference(files[0], files[1] if len(files) == 2 else None)
        if run is None or given is None:
            return None
        mean, std = np.array(given.mean, np.float32), np.array(given.std, np.float32)

        def answer(images: np.ndarray) -> np.ndarray:
            pixels = (images.astype(np.float32) - mean) / std
            pixels = pixels[..., ::-1] if given.bgr else pixels
            values = run(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            return np.asarray(values.reshape(len(images), -1), np.float32)

        return answer

    return _from_graph(files, source, wishes, "OpenCV", reference)
