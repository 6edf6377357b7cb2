"""ncnn files (.param and .bin), converted by pnnx and run by ncnn on the CPU."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from . import FLOAT16, FLOAT32, Runtime, in_batches, require
from .ncnn_files import Layer, read_bin, read_param, written
from .ncnn_ran import ran

if TYPE_CHECKING:
    from ..wrap import Shipped

FILE, NUMBERS = "model.param", ".bin"
_NAMES = {"in0": "image", "out0": "logits"}  # pnnx's: the Bundle's


def write(module: Shipped, folder: Path, precision: str, properties: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    """Writes `folder`/model.param and model.bin, the same bytes each time. Returns the former's path and its facts.

    The graph takes what `ncnn::Mat::from_pixels` gives: float32 (3, R, R), 0 to 255. float16 is a way of storing the
    weights of convolutions and products, rounded to nearest here (pnnx cuts off, which doubles the error); the rest
    stays float32.
    """
    param, numbers = _converted(module)
    path = folder / FILE
    path.write_text(param, encoding="ascii")
    path.with_suffix(NUMBERS).write_bytes(numbers)
    layers = read_param(path)
    if precision == FLOAT16:
        weights = read_bin(path.with_suffix(NUMBERS), layers)
        path.with_suffix(NUMBERS).write_bytes(written(weights, half=True))
    return path, {"layers": len(layers)}


def _converted(module: Shipped) -> tuple[str, bytes]:
    """The two files as pnnx makes them in float32, with the Bundle's names for input and output."""
    import torch

    from ..wrap import Planar

    (pnnx,) = require("ncnn", "pnnx")
    size = module.spec.resolution
    with tempfile.TemporaryDirectory() as place:
        traced = Path(place) / "network.pt"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing, which pnnx needs
            torch.jit.trace(Planar(module), torch.zeros(1, 3, size, size), check_trace=False).save(str(traced))
        command = [pnnx.EXEC_PATH, str(traced), f"inputshape=[1,3,{size},{size}]", "fp16=0"]
        ended = subprocess.run(command, cwd=place, capture_output=True, text=True, errors="replace", check=False)
        param, numbers = (Path(place) / f"network.ncnn.{suffix}" for suffix in ("param", "bin"))
        if ended.returncode or not param.is_file() or not numbers.is_file():
            words = (ended.stderr or ended.stdout).split("\n")
            raise RuntimeError(f"pnnx ended with status {ended.returncode}: {' '.join(words[-3:])}")
        return _renamed(param.read_text(encoding="ascii")), numbers.read_bytes()


def _renamed(param: str) -> str:
    lines = param.splitlines()
    for index, line in enumerate(lines[2:], 2):
        words = line.split()
        names = slice(4, 4 + int(words[2]) + int(words[3]))
        words[1] = _NAMES.get(words[1], words[1])
        words[names] = [_NAMES.get(word, word) for word in words[names]]
        lines[index] = " ".join(words)
    return "\n".join(lines) + "\n"


class NcnnSession:
    """The two files in ncnn on the CPU. float32 weights are computed in float32, float16 ones as ncnn sees fit."""

    def __init__(self, path: Path, threads: int | None) -> None:
        layers = read_param(path)
        _check_contract(path, layers)
        half = FLOAT16 in stored(path)
        (self.ncnn,) = require("ncnn", "ncnn")
        self.net = self.ncnn.Net()
        if threads is not None:
            self.net.opt.num_threads = threads
        if not half:
            for name in _HALF_OPTIONS:
                setattr(self.net.opt, name, False)
        if self.net.load_param(str(path)) or self.net.load_model(str(path.with_suffix(NUMBERS))):
            raise UserError(f"{path}: not a model that ncnn opens")

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        return in_batches(self._one, images)

    def _one(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        extractor = self.net.create_extractor()
        pixels = self.ncnn.Mat.from_pixels(images[0], self.ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        extractor.input("image", pixels)
        status, logits = extractor.extract("logits")
        if status:
            raise MemoryError(f"ncnn ended with status {status}")
        return np.array(logits)[None]


_HALF_OPTIONS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")  # on by default, whatever is stored


def stored(path: Path) -> dict[str, int]:
    """How many weights of convolutions and products the files hold in each type; the format keeps the rest in float32.

    Raises UserError when the files do not fit together.
    """
    counts: dict[str, int] = {}
    for weights in read_bin(path.with_suffix(NUMBERS), read_param(path)):
        if weights.flagged:
            name = FLOAT16 if weights.half else FLOAT32
            counts[name] = counts.get(name, 0) + weights.values.size
    return counts


def _check_contract(path: Path, layers: list[Layer]) -> None:
    taken = [name for layer in layers if layer.kind == "Input" for name in layer.gives]
    used = {name for layer in layers for name in layer.takes}
    given = [name for layer in layers for name in layer.gives if name not in used]
    if (taken, given) != (["image"], ["logits"]):
        raise UserError(
            f"{path}: takes {', '.join(taken)} and gives {', '.join(given)}; "
            "a bundle's file takes image and gives logits"
        )


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """A program in Python and one in C++ that predict with the file at `path`, relative to the bundle."""
    from ...arch.spec import Spec
    from ..example import python_example
    from .ncnn_example import cpp_example

    spec = Spec.from_json(manifest["spec"])
    name, numbers = "example_ncnn.py", str(Path(path).with_suffix(NUMBERS).as_posix())
    exact = "" if Path(path).parent.name == FLOAT16 else _EXACT
    source = python_example(
        spec.preprocessing,
        name=name,
        package="ncnn",
        imports="import ncnn",
        setup=_PYTHON.format(size=spec.resolution, param=path, numbers=numbers, exact=exact),
        run="run(net.create_extractor(), image)",
    )
    program = cpp_example(
        spec.preprocessing,
        path,
        numbers,
        labels=[row["name"] for row in manifest["labels"]],
        decision=manifest["decision"],
        exact=bool(exact),
    )
    return {name: source, "examples/ncnn/main.cpp": program}


_EXACT = "net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False\n"
_PYTHON = """\
def run(extractor, image):
    pixels = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_RGB, {size}, {size})
    extractor.input("image", pixels)
    return np.array(extractor.extract("logits")[1])


net = ncnn.Net()
{exact}net.load_param(str(HERE / "{param}"))
net.load_model(str(HERE / "{numbers}"))"""


NCNN = Runtime(
    name="ncnn",
    extra="ncnn",
    precisions=(FLOAT32, FLOAT16),
    packages=("ncnn", "pnnx"),
    writes_with=("pnnx",),
    runs_with=("ncnn",),
    write=write,
    open=NcnnSession,
    examples=examples,
    calibrated=(),
    stored=stored,
    ran=ran,
)
