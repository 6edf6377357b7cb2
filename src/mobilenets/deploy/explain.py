"""`explain`: what an answer rests on, computed on the very file that ships."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from ..console import progress, warn
from ..data.decode import ImageError, decode_image
from ..data.preprocess import resize_and_crop
from ..drawing.heat import Heat, heat_picture
from ..drawing.plot import check_path, write
from ..errors import UserError
from ..suggest import near
from ..tasks.classify import softmax
from ..training.report.figures import percent
from .heat.asking import Asking
from .heat.blackbox import RUNS, occlusion, occlusion_runs, rise
from .heat.faithful import RUNS as FAITHFUL_RUNS
from .heat.faithful import faithfulness
from .load import Loaded, load
from .predict import answer

Method = Literal["gradcam", "rise", "occlusion"]
GRID = 16  # places on a side of the map in the answer
_SHOWN = 680  # pixels on a side of the pictures
_TOP = 5
_WORDS = {
    "gradcam": "Grad-CAM (Selvaraju et al. 2017)",
    "rise": "RISE (Petsiuk et al. 2018)",
    "occlusion": "occlusion (Zeiler & Fergus 2014)",
}


def explain(
    reference: str | os.PathLike[str],
    image: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    method: Method | None = None,
    label: str | None = None,
    runs: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes the picture of what the answer rests on, and returns what `explain --json` prints.

    `method` is gradcam where torch runs the network, which knows its gradients; occlusion where a model file runs in
    its own runtime, of which nothing is known but its answers; rise likewise, with `runs` random masks. `label` is the
    class in question, the answer's where None. `out` is .png or .svg, IMAGE.explained.png in the current folder where
    None. The same seed gives the same map. Raises UserError where a value does not fit, before anything is run.
    """
    source = Path(image)
    target = check_path(Path(f"{source.stem}.explained.png") if out is None else out)
    _check(source, target, method, runs)
    pixels = _read(source)
    loaded = load(reference)
    if not loaded.labels:
        raise UserError(f"{loaded.reference}: ends in features, so it has no answers to explain")
    chosen = _method(loaded, method, runs)
    seen = resize_and_crop(pixels, loaded.preprocessing)
    temperature = loaded.temperature or 1.0
    scores = softmax(loaded.logits(seen[None]) / temperature)[0]
    place = int(scores.argmax()) if label is None else _place(loaded, label)
    began = time.perf_counter()
    with progress() as bar:
        total = {"gradcam": 1, "rise": runs or RUNS, "occlusion": occlusion_runs(len(seen))}[chosen]
        task = bar.add_task(chosen, total=total + FAITHFUL_RUNS, note="")
        asking = Asking(
            image=seen,
            label=place,
            logits=loaded.logits,
            temperature=temperature,
            fill=np.round(loaded.preprocessing.mean).astype(np.uint8),
            on_runs=lambda count: bar.update(task, advance=count),
        )
        heat = _heat(loaded, asking, chosen, runs or RUNS, seed)
        used, seconds = asking.runs, time.perf_counter() - began
        truth = faithfulness(asking, heat, seed)
    shown = _scaled(heat)
    if not shown.any():
        warn(f"{image}: no part of it speaks for {loaded.names[place]}; the map is empty")
    found = {
        "network": loaded.reference,
        "recognised": loaded.recognised,
        "image": str(source),
        "method": chosen,
        "class": loaded.names[place],
        "score": float(scores[place]),
        **answer(scores, loaded, _TOP),
        "runs": used,
        "seconds": round(seconds, 3),
        "seed": seed,
        "faithfulness": truth,
        "heat": _grid(shown),
        "picture": str(target),
    }
    write(heat_picture(_drawn(found, loaded, pixels, shown)), target)
    return found


def _check(source: Path, target: Path, method: str | None, runs: int | None) -> None:
    """Raises UserError for what can be told without the network."""
    if method is not None and method not in get_args(Method):
        raise UserError(f"unknown method {method!r}; allowed: {', '.join(get_args(Method))}")
    if runs is not None and runs < 1:
        raise UserError(f"runs {runs} is out of range: allowed is 1 or more")
    if source.is_dir():
        raise UserError(f"{source}: is a folder; one picture is explained at a time")
    if not source.is_file():
        raise UserError(f"{source}: no such file")
    if target.exists() and target.samefile(source):
        raise UserError(f"{target}: is the picture to explain; choose another --out")
    if target.suffix.lower() == ".png":
        from ..drawing.png import require_matplotlib

        require_matplotlib()


def _read(source: Path) -> np.ndarray:
    try:
        return decode_image(source.read_bytes())
    except ImageError as error:
        raise UserError(f"{source}: {error}") from None


def _method(loaded: Loaded, method: Method | None, runs: int | None) -> Method:
    """The method that was asked for, if this network can be asked so; else the one that fits it."""
    by_torch = loaded.make_session is None
    chosen: Method = method or ("rise" if runs is not None else "gradcam" if by_torch else "occlusion")
    if chosen == "gradcam" and not by_torch:
        raise UserError(
            f"gradcam needs gradients, and {loaded.reference} is a model file in its own runtime; allowed: rise, "
            "occlusion"
        )
    if runs is not None and chosen != "rise":
        raise UserError(f"runs {runs} goes with method rise; {chosen} has a number of its own")
    return chosen


def _place(loaded: Loaded, label: str) -> int:
    """Which logit a class's name stands for."""
    if label not in loaded.names:
        allowed = ", ".join(loaded.names) if len(loaded.names) <= 20 else f"{len(loaded.names)} classes"
        raise UserError(f"unknown class {label!r}{near(label, loaded.names) or '; allowed: ' + allowed}")
    return loaded.names.index(label)


def _heat(loaded: Loaded, asking: Asking, method: Method, runs: int, seed: int) -> np.ndarray:
    """The map (R, R)."""
    if method == "occlusion":
        return occlusion(asking)
    if method == "rise":
        return rise(asking, runs, seed)
    from .heat.gradcam import gradcam

    asking.runs += 1
    asking.on_runs(1)
    return gradcam(loaded.network, asking.image, asking.label)


def _scaled(heat: np.ndarray) -> np.ndarray:
    """What speaks for the class, 0...1: the map without its negative part, over its largest value."""
    kept = np.maximum(heat, 0.0)
    largest = float(kept.max())
    return kept / largest if largest > 0 else kept


def _grid(shown: np.ndarray) -> list[list[float]]:
    """The map (R, R) averaged to 16 x 16 places, the first row on top."""
    small = cv2.resize(shown, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return [[round(float(value), 4) for value in row] for row in small]


def _drawn(found: dict[str, Any], loaded: Loaded, pixels: np.ndarray, shown: np.ndarray) -> Heat:
    """What the picture shows."""
    photo = resize_and_crop(pixels, replace(loaded.preprocessing, resolution=_SHOWN))
    truth = found["faithfulness"]
    first = found["predictions"][0]
    best = f"{first['label']}, {percent(first['score'])}"
    scores = {row["label"]: row["score"] for row in found["predictions"]} | {found["class"]: found["score"]}
    return Heat(
        title=f"unknown; the likeliest is {best}" if found["unknown"] else best,
        subtitle=f"{Path(found['image']).name} · {loaded.recognised}",
        photo=_png(photo),
        overlay=_png(overlay(photo, shown)),
        colours=_png(np.repeat(_colours(np.linspace(0, 1, 160))[None], 4, axis=0)),
        explained=found["class"],
        scores=[(name, score, percent(score)) for name, score in scores.items()],
        facts=[
            f"{_WORDS[found['method']]}, {_count(found['runs'])} in {found['seconds']:.1f} s",
            f"hottest tenth covered: {percent(found['score'])} becomes {percent(truth['without_hottest_tenth'])}",
            f"hottest tenth alone: {percent(truth['hottest_tenth'])}",
            f"deletion {truth['deletion']:.3f} (random map {truth['random_deletion']:.3f}), lower is better",
            f"insertion {truth['insertion']:.3f} (random map {truth['random_insertion']:.3f}), higher is better",
        ],
    )


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs:,} runs"


def overlay(photo: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The photo, uint8 RGB (S, S, 3), grey and dark, lit in the colours of heat where the map (R, R), 0...1, says."""
    side = len(photo)
    large = np.clip(cv2.resize(shown, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float64)
    share = 0.6 * np.sqrt(large)
    mixed = (1 - share) * (0.5 + 0.5 * large) * grey + share * _colours(large[..., 0])
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def _colours(values: np.ndarray) -> np.ndarray:
    """RGB (..., 3) of heat 0...1: black over red and orange to light yellow, in even steps of lightness."""
    flat = np.round(255 * values.reshape(-1, 1)).astype(np.uint8)
    bgr = cv2.applyColorMap(flat, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(bgr[..., ::-1]).reshape(*values.shape, 3)


def _png(image: np.ndarray) -> bytes:
    """Uint8 RGB as an encoded PNG."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(data.tobytes())
