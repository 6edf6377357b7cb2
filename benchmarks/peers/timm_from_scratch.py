"""The peer of benchmarks/from_scratch.py: a timm network trained as timm's users train one, for a given wall time.

timm's own parts throughout: `create_transform` (random resized crops, flips, colour jitter 0.4, as its train.py has
them by default), AdamW through `create_optimizer_v2`, a cosine with warm-up, label smoothing 0.1, `ModelEmaV3`, a
torch DataLoader with a worker per core (two at most), channels_last. Prints one line of JSON.
"""

import contextlib
import json
import math
import os
import sys
import time

with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401 - lets torchvision import beside a CPU build of torch
import timm
import torch
from PIL import Image
from timm.data import create_transform
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader, Dataset


class Files(Dataset):
    """Image files and labels through a transform."""

    def __init__(self, rows, transform):
        self.rows, self.transform = rows, transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        path, label = self.rows[index]
        return self.transform(Image.open(path).convert("RGB")), label


def score(model, loader):
    """Top-1 of the model over the loader's images."""
    model.eval()
    right = total = 0
    with torch.inference_mode():
        for images, labels in loader:
            right += (model(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum().item()
            total += len(labels)
    return right / total


def main():
    """Trains until the time is over, keeps the weights that the selection images like best, scores the report once."""
    path, name, size, minutes, seed, classes, batch = sys.argv[1:8]
    size, budget, classes, batch = int(size), 60 * float(minutes), int(classes), int(batch)
    torch.manual_seed(int(seed))
    workers = min(2, len(os.sched_getaffinity(0)))
    with open(path) as file:
        lists = json.load(file)
    fine = create_transform(size, is_training=True, color_jitter=0.4, interpolation="bilinear")
    crop = 1.0 if size <= 96 else 0.875
    plain = create_transform(size, is_training=False, crop_pct=crop, interpolation="bilinear")
    loaders = {
        "train": DataLoader(
            Files(lists["train"], fine),
            batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=True,
        ),
        "selection": DataLoader(Files(lists["selection"], plain), 64),
        "report": DataLoader(Files(lists["report"], plain), 64),
    }
    model = timm.create_model(name, num_classes=classes).to(memory_format=torch.channels_last)
    if size <= 48:
        model.conv_stem.stride = (1, 1)  # a total stride of 16, as the other arm
    peak = 2e-3
    optimizer = create_optimizer_v2(model, opt="adamw", lr=peak, weight_decay=0.05)
    ema = ModelEmaV3(model, decay=0.998, use_warmup=True)
    loss_of = LabelSmoothingCrossEntropy(0.1)
    started, best, weights, epochs, images_seen, trained = time.perf_counter(), -1.0, None, 0, 0, 0.0
    while time.perf_counter() - started < budget:
        model.train()
        begun = time.perf_counter()
        for step, (images, labels) in enumerate(loaders["train"]):
            part = (time.perf_counter() - started) / budget
            if part >= 1:
                break
            rate = peak * (part / 0.05 if part < 0.05 else (1 + math.cos(math.pi * (part - 0.05) / 0.95)) / 2)
            for group in optimizer.param_groups:
                group["lr"] = max(rate, peak * 1e-3) * group.get("lr_scale", 1.0)
            loss = loss_of(model(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            ema.update(model, step=epochs * len(loaders["train"]) + step)
            images_seen += len(labels)
        trained += time.perf_counter() - begun
        epochs += 1
        top1 = score(ema.module, loaders["selection"])
        if top1 >= best:
            best, weights = top1, {k: v.clone() for k, v in ema.module.state_dict().items()}
        print(f"epoch {epochs} selection {top1:.3f}", file=sys.stderr)
    ema.module.load_state_dict(weights)
    seconds = time.perf_counter() - started
    row = {
        "model": name,
        "top1": score(ema.module, loaders["report"]),
        "images": len(lists["report"]),
        "selection_top1": best,
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "images_per_second": round(images_seen / trained, 1),
        "timm": timm.__version__,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
