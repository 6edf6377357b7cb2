"""The peer of benchmarks/loader.py: torchvision's and timm's own transforms in a torch DataLoader, in one process.

    python torchvision_loader.py FOLDER SIZE torchvision|timm

For each line on stdin one pass over the images; prints images per second of processor time. `torchvision` has the same
augmentation as ours; `timm` is `create_transform` as its train.py calls it (no rotation, hue or grey), with the same
crops.
"""

import contextlib
import sys
import time
from pathlib import Path

with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401 - lets torchvision import beside a CPU build of torch
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Files(Dataset):
    """Image files through a transform."""

    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def make_transform(name, size):
    """The transform of that library."""
    if name == "timm":
        return create_transform(
            size, is_training=True, color_jitter=0.4, interpolation="bilinear", scale=(0.35, 1.0), auto_augment=None
        )
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.35, 1.0)),
            transforms.RandomRotation(20, transforms.InterpolationMode.BILINEAR),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.4, 0.4, 0.4, 0.03),
            transforms.RandomGrayscale(0.1),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def main():
    """Passes over the images, one for each line read."""
    folder, size, name = sys.argv[1:4]
    torch.set_num_threads(1)
    paths = sorted(Path(folder).glob("*/*.jpg"))
    loader = DataLoader(Files(paths, make_transform(name, int(size))), BATCH, shuffle=True, drop_last=True)
    for _ in sys.stdin:
        began, images = time.process_time(), 0
        for batch in loader:
            images += len(batch)
        print(images / (time.process_time() - began), flush=True)


if __name__ == "__main__":
    main()
