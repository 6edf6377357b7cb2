"""tf2onnx against our import of the same TFLite files, both judged by LiteRT on the same ImageNet pictures.

    python benchmarks/rival_importers.py --peer-python PEERS/bin/python     # with tf2onnx and tensorflow-cpu

tf2onnx turns the file into an ONNX graph (`--dequantize`: a float one, as ours is float), which onnxruntime runs; ours
becomes a network that trains. Writes benchmarks/results/rival_importers.csv. Needs what imported_weights.py needs.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from imported_weights import FILES, HERE, real_images
from mobilenets.weights.formats import read_weights
from mobilenets.weights.proof import answers, network_of


def main() -> None:
    """One row for each TFLite file that is whole in itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--peer-python", required=True)
    arguments = parser.parse_args()
    singles = {name: paths[0] for name, paths in FILES.items() if len(paths) == 1 and paths[0].suffix == ".tflite"}
    rows = [row(name, path, arguments) for name, path in singles.items()]
    with (HERE / "results" / "rival_importers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for each in rows:
        print(
            f"{each['file']:20} LiteRT {each['source_top1']:.1%}  ours {each['our_top1']:.1%} (agreement "
            f"{each['our_agreement']:.1%})  tf2onnx {each['rival_top1']:.1%} (agreement {each['rival_agreement']:.1%})"
        )


def row(name: str, path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Top-1 of the three and how often each importer names LiteRT's class."""
    published = read_weights([path])
    spec = published.found.spec
    images, truth = real_images(spec, arguments.images)
    reference = published.reference()
    assert reference is not None, "LiteRT is not installed"
    network = network_of(published.found)
    classes = {
        "source": reference(images).argmax(1),
        "our": np.concatenate([answers(network, images[i : i + 50]).argmax(1) for i in range(0, len(images), 50)]),
        "rival": converted_classes(path, images, arguments.peer_python),
    }
    top1 = {f"{who}_top1": round(float((found == truth).mean()), 4) for who, found in classes.items()}
    agreement = {
        f"{who}_agreement": round(float((classes[who] == classes["source"]).mean()), 4) for who in ("our", "rival")
    }
    return {"file": name, "images": len(images)} | top1 | agreement | {"date": datetime.now(UTC).strftime("%Y-%m-%d")}


def converted_classes(path: Path, images: np.ndarray, python: str) -> np.ndarray:
    """What tf2onnx's graph answers to uint8 pictures (N, R, R, 3), in onnxruntime: classes (N,)."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/model.onnx"
        command = [python, "-m", "tf2onnx.convert", "--tflite", str(path), "--output", out, "--dequantize"]
        subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    if feed.type == "tensor(float)":
        images = (images - np.float32(127.5)) / np.float32(127.5)
    return np.concatenate([session.run(None, {feed.name: image[None]})[0].reshape(1, -1).argmax(1) for image in images])


if __name__ == "__main__":
    main()
