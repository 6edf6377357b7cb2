"""The Python programs that a bundle carries: they need neither torch nor this package, and are run in the tests."""

from __future__ import annotations

from ..arch.spec import Preprocessing
from ..data.preprocess import resized_sides

_PROGRAM = '''\
"""Says what pictures show: python {name} IMAGE...   It needs {needs}."""
import json
import os
import sys
from pathlib import Path

{imports}

HERE = Path(__file__).resolve().parent
BUNDLE = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))


{resize}


def load(path):
    """The picture as the network takes it: uint8 RGB ({size}, {size}, 3)."""
    {read}
{fit}


{setup}
sys.excepthook = lambda _, error, __: (print("error:", path, *str(error).split(), file=sys.stderr), os._exit(2))
for path in sys.argv[1:]:
    image = load(path)
    logits = {run} / (BUNDLE["decision"]["temperature"] or 1.0)
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    if scores.max() < (BUNDLE["decision"]["threshold"] or 0.0):
        print(path, "unknown", f"{{scores.max():.4f}}", sep="\\t", flush=True)
    for i in np.argsort(-scores, kind="stable")[:5]:
        print(path, BUNDLE["labels"][i]["name"], f"{{scores[i]:.4f}}", sep="\\t", flush=True)
'''

_OPENCV_RESIZE = '''\
def resize(image, height, width):
    """Averages along a side that shrinks, interpolates along a side that grows, the shrinking first."""
    shrunk = min(width, image.shape[1]), min(height, image.shape[0])
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)'''

_PILLOW_RESIZE = '''\
def resize(image, height, width):
    """Pillow's antialiased kernel."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.{kernel}))'''

_SHORTEST = """\
    h, w = (int(side * {short} / min(image.shape[:2]) + 0.5) for side in image.shape[:2])
    image, top, left = resize(image, h, w), (h - {size}) // 2, (w - {size}) // 2
    return np.ascontiguousarray(image[top : top + {size}, left : left + {size}])"""

_SQUASH = "    return resize(image, {size}, {size})"

_CENTRAL = """\
    top, left = (int((side - side * {fraction!r}) / 2) for side in image.shape[:2])
    image = image[top : image.shape[0] - top, left : image.shape[1] - left]
    return resize(image, {size}, {size})"""


def python_example(preprocessing: Preprocessing, *, name: str, package: str, imports: str, setup: str, run: str) -> str:
    """The source of a program for one runtime.

    `setup` opens the file; `run` is the expression that gives the logits (C,) of `image`, uint8 (R, R, 3).
    """
    size = preprocessing.resolution
    if preprocessing.interpolation == "area_linear":
        library, importing, resize = "opencv-python-headless", "import cv2", _OPENCV_RESIZE
        read = "image = cv2.cvtColor(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)"
    else:
        library, importing = "pillow", "from PIL import Image, ImageOps"
        resize = _PILLOW_RESIZE.format(kernel=preprocessing.interpolation.upper())
        read = 'image = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))'
    short = min(resized_sides(size, size, preprocessing))
    fits = {"shortest": _SHORTEST, "squash": _SQUASH, "central": _CENTRAL}
    lines = sorted(["import numpy as np", importing, imports], key=lambda line: (line.startswith("from"), line))
    return _PROGRAM.format(
        name=name,
        needs=f"numpy, {library} and {package}",
        imports="\n".join(lines),
        resize=resize,
        size=size,
        read=read,
        fit=fits[preprocessing.resize].format(short=short, size=size, fraction=preprocessing.crop_fraction),
        setup=setup,
        run=run,
    )
