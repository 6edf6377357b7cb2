"""What 16x8 (int16 activations, int8 weights) costs in LiteRT on a CPU: float32 and Google's own 16x8 file, in turns.

    python benchmarks/litert_16x8.py

Random weights at 224 pixels; ai-edge-quantizer (it comes with the litert extra) makes the 16x8 file from our float32
one, calibrated on noise. One thread, processor time. Rows go to benchmarks/results/litert_16x8.jsonl.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from from_scratch import machine
from mobilenets.arch.registry import create_spec
from mobilenets.deploy.runtimes import runtime
from mobilenets.deploy.wrap import Shipped
from mobilenets.nn.network import build_network

ROWS = Path(__file__).resolve().parent / "results" / "litert_16x8.jsonl"
NETWORKS, SIZE, ROUNDS = ("mobilenet_v2", "mobilenet_v3_small"), 224, 20


def main() -> None:
    """Measures, prints, appends."""
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            module = Shipped(build_network(create_spec(name, resolution=SIZE)).eval())
            path, _ = runtime("litert").write(module, Path(folder), "float32", {})
            files = {"float32": path.read_bytes(), "16x8": as_16x8(path)}
        times = measure(files)
        row = {"network": name, "size": SIZE, "ms": {kind: 1e3 * statistics.median(of) for kind, of in times.items()}}
        row["ratio"] = row["ms"]["16x8"] / row["ms"]["float32"]
        row["megabytes"] = {kind: len(data) / 1e6 for kind, data in files.items()}
        whole, half = row["ms"]["float32"], row["ms"]["16x8"]
        print(f"{name}: float32 {whole:.1f} ms, 16x8 {half:.1f} ms, {row['ratio']:.0f} times as long")
        with ROWS.open("a") as file:
            file.write(json.dumps(row | machine()) + "\n")


def as_16x8(path: Path) -> bytes:
    """The file quantised by ai-edge-quantizer's recipe for int16 activations and int8 weights."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    rng = np.random.default_rng(0)
    signature = next(iter(Interpreter(str(path)).get_signature_list()))
    images = [{"image": rng.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)} for _ in range(8)]
    theirs = quantizer.Quantizer(str(path))
    theirs.load_quantization_recipe(recipe.static_wi8_ai16())
    return bytes(theirs.quantize(theirs.calibrate({signature: images})).quantized_model)


def measure(files: dict[str, bytes]) -> dict[str, list[float]]:
    """Processor seconds of single runs on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    sessions, times = {}, {}
    for kind, data in files.items():
        sessions[kind] = Interpreter(model_content=data, num_threads=1)
        sessions[kind].allocate_tensors()
        times[kind] = []
    for _ in range(ROUNDS):
        for kind, session in sessions.items():
            began = time.process_time()
            session.invoke()
            times[kind].append(time.process_time() - began)
    return times


if __name__ == "__main__":
    main()
