"""Whatever names a network, as the teacher of a training."""

from __future__ import annotations

from pathlib import Path

import torch

from ..console import say
from ..digest import digest
from ..errors import UserError
from ..training.start import make_start
from ..training.teacher import Teacher, teacher_of_network
from .bundle import MANIFEST, is_bundle
from .foreign import open_foreign, take_pixels
from .load import Loaded, load


def find_teacher(reference: str, given: str | None = None, threads: int | None = None) -> Teacher:
    """The teacher that `reference` names.

    A run, a bundle's folder, published weights: the network, by torch. A model file inside a bundle, and an ONNX file
    that is no network of ours: that very file in its runtime, which gives answers alone; `given` says what a file of
    floats takes. Raises UserError, one line, for anything else.
    """
    path = Path(reference)
    count = threads or torch.get_num_threads()
    try:
        loaded = load(reference)
    except UserError as error:
        if not (path.is_file() and path.suffix.lower() == ".onnx") or _in_bundle(path):
            raise
        say(f"{reference}: not read as one of our networks ({error}); onnxruntime runs it")
        return open_foreign(path, given, count)
    if given is not None:
        raise UserError(f"teacher input {given} goes with an ONNX file of another kind; {reference} states its own")
    if loaded.kind == "file" and path.name != MANIFEST:
        return _of_file(loaded, path, count)
    sha256 = make_start(reference, loaded.spec, loaded.network.state_dict(), loaded.labels).sha256
    return teacher_of_network(reference, loaded.recognised, sha256, loaded.network, loaded.labels)


def _in_bundle(path: Path) -> bool:
    return any(is_bundle(folder) for folder in path.absolute().parents)


def _of_file(loaded: Loaded, path: Path, threads: int) -> Teacher:
    """A bundle's model file: raw pixels in, of one size."""
    assert loaded.make_session is not None
    size = loaded.spec.resolution
    return Teacher(
        name=loaded.reference,
        recognised=loaded.recognised,
        sha256=digest(path),
        run=take_pixels(loaded.make_session(threads).run),
        labels=loaded.labels,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        resolution=size,
        sides=(size,),
    )
