"""What the frozen part of a network gives for images, computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..atomic import replacing
from ..nn.network import Network
from .loop import Normaliser

Batches = Iterable[tuple[np.ndarray, np.ndarray]]  # uint8 (N, R, R, 3) and labels int64 (N,)


@torch.inference_mode()
def embed(
    network: Network, batches: Batches, normalise: Normaliser, device: torch.device, *, bfloat16: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the classifier sees, float32 (N, D), and the labels of each batch; the network is put in eval mode."""
    network.eval()
    for images, labels in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            features = network.embed(normalise(torch.from_numpy(images).to(device)))
        yield features.float().cpu().numpy(), labels


def gather(made: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """All batches of (features, labels) as one pair in memory."""
    features, labels = zip(*made)
    return np.concatenate(features), np.concatenate(labels)


def store(
    folder: Path, name: str, made: Iterable[tuple[np.ndarray, np.ndarray]], on_images: Callable[[int], None]
) -> None:
    """Writes the features batch by batch to `folder`, in constant memory, and then their labels.

    `on_images` is told how many images are done. The labels' file comes last: where it is, the features are whole.
    """
    with replacing(folder / f"{name}.features") as temporary:
        labels, done = [], 0
        with temporary.open("wb") as file:
            for features, truth in made:
                file.write(np.ascontiguousarray(features, "<f4").tobytes())
                labels.append(truth)
                done += len(truth)
                on_images(done)
    with replacing(folder / f"{name}.labels") as temporary:
        temporary.write_bytes(np.concatenate(labels).astype("<i8").tobytes())


def stored(folder: Path, name: str, dimensions: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The features (N, D), left on disk, and the labels that `store` wrote; None where they are not whole."""
    try:
        labels = np.fromfile(folder / f"{name}.labels", "<i8")
        features = np.memmap(folder / f"{name}.features", "<f4", mode="r")
    except (OSError, ValueError):
        return None
    if not len(labels) or features.size != len(labels) * dimensions:
        return None
    return features.reshape(len(labels), dimensions), labels
