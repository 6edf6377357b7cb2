"""Imported networks against the source's own runtime on real images: top-1 of both, agreement, difference of logits.

    python benchmarks/imported_weights.py            # every ImageNet file of the shared folder, 500 images

Writes benchmarks/results/imported_weights.csv. Needs the shared data (MOBILENETS_SHARED), ai-edge-litert and Keras.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.arch.spec import Spec
from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.preprocess import resize_and_crop
from mobilenets.tasks.classify import wilson
from mobilenets.weights.formats import read_weights
from mobilenets.weights.proof import answers, network_of

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
TFLITE = SHARED / "weights" / "tflite"
SPLIT = TFLITE / "mobilenet_v1_1.0_224_quant_split"
FILES: dict[str, list[Path]] = {
    "V1 0.25 128 uint8": [TFLITE / "mobilenet_v1_0.25_128_quant" / "mobilenet_v1_0.25_128_quant.tflite"],
    "V1 0.25 224 float": [TFLITE / "mobilenet_v1_0.25_224_float" / "mobilenet_v1_0.25_224_1_default_1.tflite"],
    "V1 0.75 192 uint8": [TFLITE / "mobilenet_v1_0.75_192_quant" / "mobilenet_v1_0.75_192_quant.tflite"],
    "V1 1.0 224 uint8, two files": [
        SPLIT / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
        SPLIT / "mobilenet_quant_v1_224_head_layers.tflite",
    ],
    "V2 1.0 224 uint8": [TFLITE / "mobilenet_v2_1.0_224_quant" / "mobilenet_v2_1.0_224_quant.tflite"],
    "V1 0.25 224 Keras": [SHARED / "weights" / "keras" / "mobilenet_v1_0.25_224_imagenet" / "mobilenet_v1_0.25_224.h5"],
}


def main() -> None:
    """Scores every file and its import on the same images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    rows = [row(name, paths, arguments.images) for name, paths in FILES.items() if arguments.only in name]
    results = HERE / "results" / "imported_weights.csv"
    if not arguments.only:
        results.parent.mkdir(exist_ok=True)
        with results.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    for each in rows:
        low, high = each["our_low"], each["our_high"]
        print(
            f"{each['file']:28} {each['runtime']:7} {each['source_top1']:.1%}, ours {each['our_top1']:.1%} ({low:.1%}-"
            f"{high:.1%}, {each['images']} images); agreement {each['agreement']:.1%}; 99.9 % of logits within "
            f"{each['p999']:.2g}, all within {each['max_abs_error']:.2g}, largest logit {each['largest']:.3g}"
        )


def row(name: str, paths: list[Path], count: int) -> dict[str, Any]:
    """One file through its runtime and through our network."""
    published = read_weights(paths)
    found = published.found
    images, truth = real_images(found.spec, count)
    reference = published.reference()
    assert reference is not None, f"{published.runtime} is not installed"
    wanted, network = reference(images), network_of(found)
    got = np.concatenate([answers(network, images[i : i + 50]) for i in range(0, len(images), 50)])
    difference = np.abs(wanted - got)
    right = int((got.argmax(1) == truth).sum())
    low, high = wilson(right, len(images))
    return {
        "file": name,
        "format": found.format,
        "runtime": published.runtime,
        "network": found.spec.name,
        "images": len(images),
        "source_top1": round(float((wanted.argmax(1) == truth).mean()), 4),
        "our_top1": round(right / len(images), 4),
        "our_low": round(low, 4),
        "our_high": round(high, 4),
        "agreement": round(float((wanted.argmax(1) == got.argmax(1)).mean()), 4),
        "p999": float(f"{np.quantile(difference, 0.999):.4g}"),
        "max_abs_error": float(f"{difference.max():.4g}"),
        "largest": float(f"{np.abs(wanted).max():.4g}"),
        "machine": platform.processor() or platform.machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def real_images(spec: Spec, count: int) -> tuple[np.ndarray, np.ndarray]:
    """ImageNet pictures as the network sees them, uint8 (N, R, R, 3), and the output that is right for each, (N,)."""
    dataset = open_dataset(SHARED / "data" / "imagenet_samples_even")
    samples = dataset.samples[:: max(1, len(dataset.samples) // count)][:count]
    images = np.stack([resize_and_crop(decode_image(dataset.read(s)), spec.preprocessing) for s in samples])
    return images, np.array([dataset.classes[s.label].index for s in samples]) + spec.head.background


if __name__ == "__main__":
    main()
