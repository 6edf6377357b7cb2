"""`weights convert`: published files become Runs, and Runs go back out to other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from . import output
from .output import Answer


def convert(
    source: Path,
    second: Path | None = None,
    /,
    *,
    out: Path,
    to: Literal["keras", "timm", "torchvision"] | None = None,
    architecture: str | None = None,
    backbone: bool = False,
    normalise: Literal["half", "unit", "imagenet", "raw"] | None = None,
    classes: Path | None = None,
    data: Path | None = None,
) -> Answer:
    """Turns a published file of weights into a Run, and proves it against the source's own runtime; or back out.

    TFLite, Keras (.h5, .keras, .weights.h5), ONNX, TF.js, Caffe, timm and torchvision (.safetensors, .pth). What was
    recognised is printed; every tensor of the file must be used, or named as set aside. Status 1, and no Run, where the
    network does not answer as the file does.

    Args:
        source: a published file or folder; with --to a Run
        second: the other part of a network in two files (TFLite body and head; Caffe's .prototxt and .caffemodel)
        out: folder of the Run; with --to the file to write
        to: write the Run in SOURCE as a file of this library
        architecture: the library's own name of the network, where a file holds tensors alone and several fit
        backbone: take the blocks alone out of a detector or a segmentation network
        normalise: what a file leaves open: half x / 127.5 - 1, unit x / 255, imagenet mean and deviation, raw 0 to 255
        classes: a text file with one class name on each line
        data: compare on up to 200 of these images, in any form that `train` reads, instead of rendered pictures
    """
    from ..weights.convert import convert as convert_in
    from ..weights.convert import convert_out

    if to is not None:
        given = {"SECOND": second, "--architecture": architecture, "--backbone": backbone or None}
        given |= {"--normalise": normalise, "--classes": classes, "--data": data}
        stray = [name for name, value in given.items() if value is not None]
        if stray:
            raise UserError(f"{stray[0]} says how to read a published file; with --to {to} a run is written out")
        result = convert_out(source, to, out)
    else:
        paths = [source] if second is None else [source, second]
        result = convert_in(
            paths, out, architecture=architecture, backbone=backbone, normalise=normalise, classes=classes, data=data
        )
    return Answer(result, lambda: _show(result, to), ok=result["ok"])


def _show(result: dict[str, Any], to: str | None) -> None:
    if not result["ok"]:
        output.line("no run was written: the network does not answer as the file does")
        return
    output.line(f"{'file' if to else 'run':12} {result['path']}")
    if result["max_abs_error"] is not None:
        output.line(f"{'error':12} {result['max_abs_error']:.3g}, the largest difference of a logit")
    output.line(f"{'sha256':12} {result['sha256']}")
