"""int8 of the published V1 and V2: scheme by network, top-1 on real pictures, onnxruntime's own quantiser beside ours.

    python benchmarks/quantization.py               # four networks, half an hour on one core
    python benchmarks/quantization.py v2 --peers    # one of them, onnxruntime's and NNCF's quantisers too

100 of the 500 ImageNet pictures of ../shared calibrate (every fifth), the other 400 are scored, all scales from
calibration, never from the source file. Decisions of the adviser are made on the calibration images: no label and no
scored image is looked at. Each row says what torch computes of the int8 network; rows of the adviser and of the rivals
what onnxruntime computes of the file. Rows replace those of the same network and scheme in
benchmarks/results/quantization.csv; beside them stand the published ones, of the whole validation set
(Krishnamoorthi 2018, tables 2 and 3).
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilenets.compress.adviser import Adviser
from mobilenets.compress.bias import correct_bias_, restore_statistics_
from mobilenets.compress.equalise import equalise_
from mobilenets.compress.rounding import adapt_rounding_
from mobilenets.compress.sensitivity import sqnr_db
from mobilenets.compress.simulation import Simulation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.matching import map_classes
from mobilenets.data.preprocess import resize_and_crop
from mobilenets.deploy.load import load, run_torch
from mobilenets.deploy.runtimes import in_batches
from mobilenets.deploy.runtimes.onnx import ONNX, OnnxSession
from mobilenets.deploy.runtimes.weight_only import rounded
from mobilenets.deploy.wrap import Shipped
from mobilenets.tasks.classify import wilson

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "quantization.csv"
SHARED = Path(os.environ.get("MOBILENETS_SHARED", HERE.parents[1] / "shared"))
NETWORKS = {
    "v1_075": "weights/tflite/mobilenet_v1_0.75_192_quant/mobilenet_v1_0.75_192_quant.tflite",
    "v2": "weights/tflite/mobilenet_v2_1.0_224_quant/mobilenet_v2_1.0_224_quant.tflite",
    "v1_025_keras": "weights/keras/mobilenet_v1_0.25_224_imagenet/mobilenet_v1_0.25_224.h5",
    "v1_025_tflite": "weights/tflite/mobilenet_v1_0.25_224_float/mobilenet_v1_0.25_224_1_default_1.tflite",
}
WEIGHTS_ALONE = "weights alone, per channel"  # what `export --precision weights8` ships, activations in float32
FEW = 64  # images that repairs look at
FIELDS = ("network", "scheme", "right", "images", "top1", "low", "high", "agreement", "sqnr_db", "seconds", "date")


@dataclass(frozen=True)
class Pictures:
    """Inputs uint8 (n, R, R, 3): those that calibrate, those that are scored, and the logits of the right answers."""

    calibration: np.ndarray
    scored: np.ndarray
    labels: np.ndarray


def main() -> None:
    """Measures, writes the rows, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[], choices=[[], *NETWORKS], metavar="|".join(NETWORKS))
    parser.add_argument("--peers", action="store_true", help="onnxruntime's quantiser too, and NNCF's if it is there")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    for name in [] if given.table else given.networks or NETWORKS:
        measure(name, peers=given.peers)
    print_table()


def measure(name: str, *, peers: bool) -> None:
    """All schemes of one network."""
    loaded = load(SHARED / NETWORKS[name])
    data = open_dataset(SHARED / "data/imagenet_samples_even", strict=False)
    columns = map_classes(data.classes, loaded.labels, name)
    inputs = np.stack([resize_and_crop(decode_image(data.read(s)), loaded.preprocessing) for s in data.samples])
    labels = np.array([columns[sample.label] for sample in data.samples])
    chosen = np.arange(len(inputs)) % 5 == 0
    pictures = Pictures(inputs[chosen], inputs[~chosen], labels[~chosen])
    shipped = Shipped(loaded.network)
    exact = Simulation(shipped, pictures.calibration).logits(pictures.scored, [])
    keep(name, "float32", exact, exact, pictures, 0.0)
    began = time.perf_counter()
    alone = rounded(shipped)
    seconds = time.perf_counter() - began
    keep(name, WEIGHTS_ALONE, in_batches(partial(run_torch, alone), pictures.scored, 50), exact, pictures, seconds)
    for scheme, build in schemes(shipped, pictures).items():
        began = time.perf_counter()
        simulation = build()
        seconds = time.perf_counter() - began
        keep(name, scheme, simulation.logits(pictures.scored), exact, pictures, seconds)
    began = time.perf_counter()
    advice = Adviser(shipped, pictures.calibration, pictures.calibration, None).advise()
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        path, _ = ONNX.write(advice.chosen.converted(), Path(folder), "int8", {})
        found = OnnxSession(path, torch.get_num_threads()).run(pictures.scored)
    keep(name, f"adviser ({advice.best.repair.describe()}), onnxruntime", found, exact, pictures, seconds)
    if peers:
        for scheme, logits, seconds in rivals(shipped, pictures):
            keep(name, scheme, logits, exact, pictures, seconds)


def schemes(shipped: Shipped, pictures: Pictures) -> dict[str, Callable[[], Simulation]]:
    """What each scheme makes of the network."""
    images, few = pictures.calibration, pictures.calibration[:FEW]

    def make(*repairs: Callable[[Simulation, np.ndarray], Any], per_channel: bool = True) -> Callable[[], Simulation]:
        def build() -> Simulation:
            simulation = Simulation(shipped, images, per_channel=per_channel)
            if equalise_ in repairs:
                equalise_(simulation, few)
            simulation.watch(images)
            for repair in repairs:
                if repair is not equalise_:
                    repair(simulation, few)
            return simulation

        return build

    return {
        "per tensor": make(per_channel=False),
        "per tensor, equalised": make(equalise_, per_channel=False),
        "per tensor, equalised, bias correction": make(equalise_, correct_bias_, per_channel=False),
        "per tensor, adapted rounding": make(adapt_rounding_, per_channel=False),
        "per channel": make(),
        "per channel, equalised": make(equalise_),
        "per channel, bias correction": make(correct_bias_),
        "per channel, restored statistics": make(restore_statistics_),
        "per channel, adapted rounding": make(adapt_rounding_),
    }


def rivals(shipped: Shipped, pictures: Pictures) -> Iterator[tuple[str, np.ndarray, float]]:
    """(scheme, logits, seconds) of other quantisers on the plain float ONNX file, run by onnxruntime."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self.left = iter(pictures.calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"image": image[None]}

    with tempfile.TemporaryDirectory() as folder:
        path, _ = ONNX.write(shipped, Path(folder), "float32", {})
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(str(path), str(ready))
        for per_channel in (False, True):
            began = time.perf_counter()
            made = Path(folder) / "int8.onnx"
            quantize_static(
                str(ready),
                str(made),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=per_channel,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            seconds = time.perf_counter() - began
            found = OnnxSession(made, torch.get_num_threads()).run(pictures.scored)
            yield f"onnxruntime's quantiser, per {'channel' if per_channel else 'tensor'}", found, seconds
        yield from nncf_rows(path, pictures)


def nncf_rows(path: Path, pictures: Pictures) -> Iterator[tuple[str, np.ndarray, float]]:
    """NNCF's post-training quantisation, as its documentation begins, and with its accurate bias correction."""
    try:
        import nncf
        import openvino
    except ImportError:
        print("NNCF is not installed: its rows are left out")
        return
    for fast in (True, False):
        began = time.perf_counter()
        model = nncf.quantize(
            openvino.Core().read_model(path),
            nncf.Dataset(list(pictures.calibration[:, None])),
            subset_size=len(pictures.calibration),
            fast_bias_correction=fast,
        )
        seconds = time.perf_counter() - began
        request = (
            openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
        )
        found = np.concatenate([request.infer({"image": image[None]})["logits"].copy() for image in pictures.scored])
        yield f"NNCF, {'fast' if fast else 'accurate'} bias correction, openvino", found, seconds


def keep(network: str, scheme: str, logits: np.ndarray, exact: np.ndarray, pictures: Pictures, seconds: float) -> None:
    """Writes a row in place of an older one."""
    right, images = int((logits.argmax(1) == pictures.labels).sum()), len(logits)
    low, high = wilson(right, images)
    row = {
        "network": network,
        "scheme": scheme,
        "right": right,
        "images": images,
        "top1": f"{right / images:.4f}",
        "low": f"{low:.4f}",
        "high": f"{high:.4f}",
        "agreement": f"{(logits.argmax(1) == exact.argmax(1)).mean():.4f}",
        "sqnr_db": f"{sqnr_db(exact, logits):.1f}",
        "seconds": f"{seconds:.0f}",
        "date": date.today().isoformat(),
    }
    print(f"{network:14} {scheme:70} {right} of {images}, {row['sqnr_db']} dB", flush=True)
    kind = scheme.split(" (")[0]
    rows = [each for each in read() if each["network"] != network or each["scheme"].split(" (")[0] != kind]
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, row])


def read() -> list[dict[str, str]]:
    """The rows so far."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def print_table() -> None:
    """Scheme by network, in percent and right answers, the published rows below."""
    rows = read()
    for network in NETWORKS:
        for row in rows:
            if row["network"] == network:
                print(
                    f"{network:14} {row['scheme']:70} {100 * float(row['top1']):5.1f} % "
                    f"({100 * float(row['low']):.1f}-{100 * float(row['high']):.1f}), {row['right']} of {row['images']}"
                )
    published = SHARED / "published/quantization_whitepaper.csv"
    if published.exists():
        with published.open(newline="") as file:
            for line in csv.DictReader(file):
                print(f"published: {line}")


if __name__ == "__main__":
    main()
