"""Trains V2 by Ultralytics on a folder of images and prints its images per second, epoch by epoch, as JSON.

    python ultralytics_worker.py DATA SIZE BATCH EPOCHS FOLDER [THREADS]

Its own trainer, loader and augmentation, as they come; the network is torchvision's MobileNetV2 without its classifier,
under Ultralytics' own head, which has a 1x1 convolution more. It trains with one thread fewer than the machine has
processors; THREADS sets that.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import tvshim  # noqa: F401 - lets torchvision import beside a CPU build of torch
from ultralytics import YOLO
from ultralytics.utils import torch_utils

NETWORK = """
nc: 3
backbone:
  - [-1, 1, TorchVision, [1280, mobilenet_v2, null, True, 1]]
head:
  - [-1, 1, Classify, [nc]]
"""


def main() -> None:
    """One training."""
    data, size, batch, epochs, folder = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
    if len(sys.argv) > 6:
        torch_utils.NUM_THREADS = int(sys.argv[6])
    (folder / "v2.yaml").write_text(NETWORK)
    model = YOLO(str(folder / "v2.yaml"), task="classify")
    began, speeds = [0.0], []

    def begin(trainer: object) -> None:
        began[0] = time.perf_counter()

    def end(trainer: object) -> None:
        images = len(trainer.train_loader.dataset)  # type: ignore[attr-defined]
        speeds.append(images / (time.perf_counter() - began[0]))

    model.add_callback("on_train_epoch_start", begin)
    model.add_callback("on_train_epoch_end", end)
    model.train(
        data=data, imgsz=size, batch=batch, epochs=epochs, device="cpu", workers=2, project=str(folder), plots=False,
        verbose=False, cache="ram", pretrained=False,
    )  # fmt: skip
    print(json.dumps(speeds))


if __name__ == "__main__":
    main()
