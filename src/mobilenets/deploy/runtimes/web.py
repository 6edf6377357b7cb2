"""A page for the browser: ONNX files as the onnx runtime writes them, and around them what shows and runs them.

onnxruntime-web runs them on the page; here onnxruntime does, which is the same library built for this machine. That a
browser gives the same answers is held in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import FLOAT32, INT8, WEIGHTS8
from .onnx import ONNX

_EXAMPLE = """\
// What a picture shows: `await classify(blob)` in a browser. It needs onnxruntime-web ({version} was tried).
import * as ort from "onnxruntime-web";
import {{ opaque, prepare }} from "../../web/preprocess.js";

const at = (path) => new URL(`../../${{path}}`, import.meta.url);
const bundle = await (await fetch(at("bundle.json"))).json();
const file = await (await fetch(at("{path}"))).arrayBuffer();
const session = await ort.InferenceSession.create(file, {{ executionProviders: ["wasm"] }});

/** The classes of a picture, a Blob, with their scores, best first; "unknown" before them below the threshold. */
export async function classify(blob) {{
  const logits = await logitsOf(prepare(await decode(blob), bundle.preprocessing));
  const powers = logits.map((value) => Math.exp((value - Math.max(...logits)) / (bundle.decision.temperature ?? 1)));
  const total = powers.reduce((sum, power) => sum + power);
  const answers = powers.map((power, index) => ({{ label: bundle.labels[index].name, score: power / total }}));
  const {{ score }} = answers.sort((a, b) => b.score - a.score)[0];
  return score < (bundle.decision.threshold ?? 0) ? [{{ label: "unknown", score }}, ...answers] : answers;
}}

/** The logits of an input, a Uint8Array of R * R * 3. */
export async function logitsOf(pixels) {{
  const image = new ort.Tensor("uint8", pixels, [1, {size}, {size}, 3]);
  return Array.from((await session.run({{ image }})).logits.data);
}}

/** The pixels of a picture, turned upright by its EXIF orientation. */
async function decode(blob) {{
  const bitmap = await createImageBitmap(blob, {{ colorSpaceConversion: "none" }});
  const {{ width, height }} = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return {{ data: opaque(context.getImageData(0, 0, width, height).data), width, height }};
}}
"""


def complete(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Puts the page around the model files in `folder`."""
    from ..page.write import write_page

    write_page(folder, manifest)


def examples(manifest: Mapping[str, Any], path: str) -> dict[str, str]:
    """A JavaScript module that classifies with the file at `path`, relative to the bundle."""
    from ..page.onnxruntime_web import VERSION

    size = manifest["preprocessing"]["resolution"]
    return {"examples/web/classify.js": _EXAMPLE.format(version=VERSION, path=path, size=size)}


WEB = replace(
    ONNX,
    name="web",
    precisions=tuple(name for name in ONNX.precisions if name in (FLOAT32, WEIGHTS8, INT8)),
    examples=examples,
    unmeasured="it runs in a browser, where its page shows the time of each frame",
    complete=complete,
)
