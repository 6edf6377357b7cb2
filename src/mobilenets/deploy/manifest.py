"""What bundle.json says: the contract of input and output, resize and crop to the pixel, and where it all came from."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..arch.spec import Preprocessing, Spec
from ..data.preprocess import resized_sides
from ..errors import UserError
from ..tasks.calibration import KEPT, chosen_threshold

_AREA_LINEAR = (
    "pixels are areas: a side that shrinks averages the input it covers, weighted by overlap (OpenCV's INTER_AREA); "
    "a side that grows is interpolated linearly between pixel centres with edges repeated (INTER_LINEAR); where one "
    "side shrinks and the other grows, the shrinking comes first; each pass is rounded to uint8"
)
_PILLOW = (
    "Pillow's antialiased {name} kernel, stretched by the scale where a side shrinks, weights normalised over the "
    "pixels that exist; the horizontal pass first; each pass is rounded to uint8"
)


def preprocessing_contract(preprocessing: Preprocessing) -> dict[str, Any]:
    """What an app has to do before the file runs (resize and crop), and what the file does itself (normalise)."""
    size = preprocessing.resolution
    short = min(resized_sides(size, size, preprocessing))
    if preprocessing.resize == "squash":
        resize = f"resize to {size} x {size}, whatever the shape; nothing is cut"
    elif preprocessing.resize == "central":
        resize = (
            f"cut floor((side - side * {preprocessing.crop_fraction!r}) / 2) pixels off both ends of each side, "
            f"computed in double precision; then resize to {size} x {size}, whatever the shape"
        )
    else:
        resize = (
            f"resize so that the short side is {short} and the long side floor(long * {short} / short + 0.5); then cut "
            f"out {size} x {size} whose upper left corner is at floor((side - {size}) / 2)"
        )
    kernel = _AREA_LINEAR
    if preprocessing.interpolation != "area_linear":
        kernel = _PILLOW.format(name=preprocessing.interpolation)
    return {
        "resolution": size,
        "resize": preprocessing.resize,
        "short_side": short,
        "crop_fraction": preprocessing.crop_fraction,
        "interpolation": preprocessing.interpolation,
        "by_the_app": ["decode to 8-bit RGB, turned upright by the EXIF orientation", resize, kernel],
        "in_the_file": {"formula": "(x - mean) / std", "mean": [*preprocessing.mean], "std": [*preprocessing.std]},
    }


def input_contract(spec: Spec) -> dict[str, Any]:
    """What a model file takes."""
    size = spec.resolution
    return {
        "name": "image",
        "dtype": "uint8",
        "layout": "NHWC",
        "shape": ["N", size, size, 3],
        "colour": "RGB",
        "range": [0, 255],
    }


def output_contract(spec: Spec) -> dict[str, Any]:
    """What a model file gives."""
    return {"name": "logits", "dtype": "float32", "shape": ["N", spec.head.outputs]}


def decision(fitted: dict[str, Any] | None = None, keep: float = KEPT) -> dict[str, Any]:
    """How logits become an answer: softmax(logits / temperature); below the threshold the answer is "unknown".

    `fitted` is what a Run's training found on its selection images, `keep` the share (0...1) of right answers that the
    threshold has to leave. None: no temperature and no threshold have been fitted. Raises UserError where `keep` is out
    of range.
    """
    if not 0 < keep <= 1:
        raise UserError(f"keep {keep:g} is out of range: allowed is above 0 to 1")
    if fitted is None:
        return {"activation": "softmax", "temperature": None, "threshold": None, "selection": None}
    chosen = chosen_threshold(fitted["thresholds"], keep)
    return {
        "activation": "softmax",
        "temperature": fitted["temperature"],
        "threshold": None if chosen is None else chosen["threshold"],
        "selection": {"images": fitted["images"], "calibration_error": fitted["calibration_error"]}
        | {name: None if chosen is None else chosen[name] for name in ("kept", "coverage", "accuracy")},
    }


def run_provenance(recipe: dict[str, Any]) -> dict[str, Any]:
    """What a bundle keeps of a Run's recipe: how it was trained, on what data, with which versions.

    Of an imported Run: which files its weights come from. No paths and no times: the same Run exported on another day
    or machine gives the same bytes.
    """
    if "imported" in recipe:
        imported = {name: value for name, value in recipe["imported"].items() if name != "proof"}
        return {"kind": "weights", "versions": recipe.get("versions", {})} | imported
    arguments = recipe.get("arguments", {})
    kept = ["model", "epochs", "minutes", "resolution", "width", "total_stride", "batch_size", "lr", "seed", "recipe"]
    data = recipe.get("data", {})
    start = recipe.get("start")
    began = {} if start is None else {"weights": {name: start[name] for name in ("model", "sha256", "frozen")}}
    if arguments.get("reparam"):
        kept.append("reparam")  # the Bundle's own Spec has the branches folded
    teacher = recipe.get("teacher")
    if teacher is not None:
        began["teacher"] = {name: teacher[name] for name in ("sha256", "forms")}
    return began | {
        "kind": "run",
        "task": recipe.get("task"),
        "arguments": {name: arguments[name] for name in kept if name in arguments},
        "recipe": recipe.get("recipe"),
        "data": {
            name: data[name] for name in ("fingerprint", "form", "classes", "images", "report_name") if name in data
        },
        "versions": recipe.get("versions", {}),
    }


def properties(spec: Spec, labels: list[dict[str, Any]]) -> dict[str, str]:
    """What a model file says about itself where its format has room for it."""
    import json

    pre = spec.preprocessing
    return {
        "mobilenets.version": __version__,
        "network": spec.name,
        "labels": json.dumps([row["name"] for row in labels], ensure_ascii=False),
        "input": f"uint8 RGB (N, {spec.resolution}, {spec.resolution}, 3), values 0 to 255",
        "output": f"float32 logits (N, {spec.head.outputs})",
        "resolution": str(spec.resolution),
        "resize": f"{pre.resize}, crop fraction {pre.crop_fraction:g}, {pre.interpolation}",
        "mean": json.dumps([*pre.mean]),
        "std": json.dumps([*pre.std]),
    }
