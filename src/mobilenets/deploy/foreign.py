"""Anybody's ONNX classifier, run by onnxruntime as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..console import say
from ..digest import digest
from ..errors import UserError
from ..training.distillation import INPUTS
from ..training.teacher import Teacher
from ..weights.imagenet import CLASSES, imagenet_labels
from .runtimes import one_line, require

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and std in 0...255
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "unit": ((0.0,) * 3, (255.0,) * 3),
    "symmetric": ((127.5,) * 3, (127.5,) * 3),
    "pixels": ((0.0,) * 3, (1.0,) * 3),
}
FLOATS = ("tensor(float)", "tensor(float16)")


def open_foreign(path: Path, given: str | None, threads: int) -> Teacher:
    """The file as a teacher: one input of square RGB images, one output (N, classes).

    The input is float or uint8, (N, 3, R, R) or (N, R, R, 3), N and R free or fixed (N at 1). uint8 takes pixels; what
    floats are is `given`, one of NORMALISATIONS, for no file says so. Outputs that are probabilities become their
    logarithms, which are logits. 1000 or 1001 outputs are ImageNet's classes (after a background); others stand in
    the order of the data's classes. Raises UserError, one line, for a file that is anything else.
    """
    (ort,) = require("onnx", "onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class of their own to catch
        raise UserError(f"{path}: not a model that onnxruntime opens ({one_line(error)})") from None
    classifier = _Classifier(path, session)
    mean, std = NORMALISATIONS["pixels" if classifier.takes_bytes else _stated(path, given, classifier)]
    outputs = classifier.probe(mean, std)
    labels: list[dict[str, Any]] | None = None
    if outputs in (CLASSES, CLASSES + 1):
        background = [{"name": "background"}] if outputs > CLASSES else []
        labels = [*background, *imagenet_labels()]
    say(f"{path}: takes {classifier.describe()}, gives {outputs} {'probabilities' if classifier.log else 'logits'}")
    return Teacher(
        name=str(path),
        recognised=f"an ONNX file, {classifier.describe()}",
        sha256=digest(path),
        run=classifier,
        labels=labels,
        mean=mean,
        std=std,
        resolution=classifier.side,
        sides=None if classifier.side is None else (classifier.side,),
    )


def _stated(path: Path, given: str | None, classifier: _Classifier) -> str:
    if given is None:
        raise UserError(
            f"{path}: takes {classifier.describe()} and does not say how they are normalised: --teacher-input, one of "
            f"{', '.join(INPUTS)}"
        )
    return given


def take_pixels(run: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor], Tensor]:
    """What takes uint8 (N, R, R, 3) arrays, as taking tensors (N, 3, R, R) of 0...255; mixed pictures are rounded."""

    def called(images: Tensor) -> Tensor:
        pixels = images.float().round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)  # (N, R, R, 3)
        return torch.from_numpy(run(pixels.contiguous().cpu().numpy())).to(images.device)

    return called


class _Classifier:
    """An onnxruntime session as a function from normalised images (N, 3, R, R) to logits (N, C)."""

    def __init__(self, path: Path, session: Any) -> None:
        self.path, self.session, self.log = path, session, False
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(
                f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a teacher has one of each: images and "
                "one number for each class"
            )
        self.name, self.kind, shape = inputs[0].name, inputs[0].type, inputs[0].shape
        if self.kind not in (*FLOATS, "tensor(uint8)") or len(shape) != 4:
            raise UserError(f"{path}: takes {self.kind} {shape}; a teacher takes float or uint8 images (N, 3, R, R)")
        self.channels_last = shape[3] == 3 and shape[1] != 3
        sides = shape[1:3] if self.channels_last else shape[2:4]
        if not self.channels_last and shape[1] != 3:
            raise UserError(f"{path}: takes {shape}; a teacher takes RGB images (N, 3, R, R) or (N, R, R, 3)")
        fixed = {side for side in sides if isinstance(side, int)}
        if len(fixed) > 1:
            raise UserError(f"{path}: takes {shape}; a teacher takes square images")
        self.side: int | None = next(iter(fixed), None)
        self.one_by_one = shape[0] == 1
        if isinstance(shape[0], int) and shape[0] != 1:
            raise UserError(f"{path}: takes {shape[0]} images at a time; allowed is 1, or any number")

    @property
    def takes_bytes(self) -> bool:
        """Whether the input is uint8 pixels."""
        return self.kind == "tensor(uint8)"

    def describe(self) -> str:
        """The input in words."""
        side = "R" if self.side is None else str(self.side)
        shape = f"(N, {side}, {side}, 3)" if self.channels_last else f"(N, 3, {side}, {side})"
        return f"{'uint8' if self.takes_bytes else 'float'} images {shape}"

    def probe(self, mean: tuple[float, ...], std: tuple[float, ...]) -> int:
        """The number of outputs, found with noise; sets `log` where they are probabilities."""
        side = self.side or 224
        noise = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0)).float()
        shape = (1, 3, 1, 1)
        answers = self((noise - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape))
        if answers.ndim != 2 or len(answers) != 2:
            raise UserError(f"{self.path}: gives {tuple(answers.shape)} for 2 images; a teacher gives (2, classes)")
        sums = answers.sum(dim=1)
        self.log = bool((answers >= 0).all() and torch.allclose(sums, torch.ones(2), atol=1e-3))
        return answers.shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        x = images.float()
        if self.takes_bytes:
            x = x.round().clamp(0, 255).to(torch.uint8)
        elif self.kind == "tensor(float16)":
            x = x.half()
        if self.channels_last:
            x = x.permute(0, 2, 3, 1)
        array = x.contiguous().cpu().numpy()
        parts = np.split(array, len(array)) if self.one_by_one else [array]
        try:
            found = np.concatenate([self.session.run(None, {self.name: part})[0] for part in parts])
        except Exception as error:  # as above
            raise UserError(f"{self.path}: fails on images {array.shape} ({one_line(error)})") from None
        logits = torch.from_numpy(found.astype(np.float32)).to(images.device)
        return logits.clamp_min(1e-12).log() if self.log else logits
