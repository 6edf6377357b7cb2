"""The proof of an import: the same pictures through the source's own runtime and through our network."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import torch

from ..arch.spec import Preprocessing
from ..console import warn
from ..data.dataset import open_dataset
from ..data.loader import scoring_batches
from ..errors import UserError
from ..nn.network import Network, build_network
from ..training.adopt import evenly
from ..training.checkpoint import load_network_
from ..training.loop import Normaliser
from .formats import Published
from .recognised import Recognised

IMAGES = 8
REAL_IMAGES = 200
FLOAT_TOLERANCE = 1e-4  # of the largest logit
QUANTISED_TOLERANCE = 0.2  # the 99.9th percentile of the difference, in parts of the largest logit; mistakes reach 0.35
QUANTISED_AGREEMENT = 0.95  # on real images: logits saturate where the file stores a small range, answers do not


def network_of(found: Recognised) -> Network:
    """The torch network with the file's weights, in evaluation mode."""
    network = build_network(found.spec)
    load_network_(network, {name: torch.from_numpy(np.array(v)) for name, v in found.state.items()}, found.format)
    return network.eval()


def prove(published: Published, network: Network, data: str | os.PathLike[str] | None = None) -> dict[str, Any] | None:
    """Compares the network with the source's runtime; None where that is not installed.

    On rendered pictures, or on up to 200 images of `data`, in any form that `train` reads, spread over the whole set.

    `max_abs_error` is the largest difference of two logits, `largest` the largest logit, `p999` the 99.9th percentile
    of the difference, `agreement` the part of the pictures on which both name the same class. Float files must agree
    within 1e-4 of the largest logit; a quantised one rounds on its way, so that its network can only be near.
    """
    reference = published.reference()
    if reference is None:
        return None
    spec = published.found.spec
    images = pictures(spec.resolution, spec.in_channels) if data is None else _real_images(data, spec.preprocessing)
    wanted = reference(images)
    got = np.concatenate([answers(network, images[i : i + 32]) for i in range(0, len(images), 32)])
    if wanted.shape != got.shape:
        warn(f"the file gives {wanted.shape[1:]} where the network gives {got.shape[1:]}: they were not compared")
        return None
    difference = np.abs(wanted - got)
    largest = float(np.abs(wanted).max())
    p999 = float(np.quantile(difference, 0.999))
    quantised = bool(published.found.quantisation) and "float16" not in published.found.quantisation
    agreement = float((wanted.argmax(1) == got.argmax(1)).mean())
    ok = float(difference.max()) <= FLOAT_TOLERANCE * largest
    if quantised:
        ok = p999 <= QUANTISED_TOLERANCE * largest or (data is not None and agreement >= QUANTISED_AGREEMENT)
    return {
        "runtime": published.runtime,
        "images": len(images),
        "real": data is not None,
        "max_abs_error": float(difference.max()),
        "p999": p999,
        "largest": largest,
        "agreement": agreement,
        "ok": bool(ok),
    }


def answers(network: Network, images: np.ndarray) -> np.ndarray:
    """uint8 (N, R, R, C) -> float32 logits (N, outputs), normalised as the Spec says."""
    normalise = Normaliser(network.spec.preprocessing, torch.device("cpu"))
    with torch.inference_mode():
        logits: np.ndarray = network(normalise(torch.from_numpy(images))).numpy()
    return logits


def _real_images(data: str | os.PathLike[str], preprocessing: Preprocessing) -> np.ndarray:
    if len(preprocessing.mean) != 3:
        raise UserError(f"{data}: images have 3 channels, the network takes {len(preprocessing.mean)}")
    dataset = open_dataset(data)
    samples = evenly(dataset.samples, REAL_IMAGES)
    return np.concatenate([images for images, _ in scoring_batches(dataset, samples, preprocessing)])


def pictures(side: int, channels: int = 3, count: int = IMAGES) -> np.ndarray:
    """Pictures with large and small structure, always the same: uint8 (count, side, side, channels)."""
    rng = np.random.default_rng(20170417)
    made = np.zeros((count, side, side, channels), np.float32)
    for cells, strength in ((3, 0.6), (9, 0.3), (31, 0.15)):
        for image in made:
            coarse = rng.standard_normal((cells, cells, channels)).astype(np.float32)
            fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
            image += strength * fine.reshape(side, side, channels)
    return np.clip(127.5 + 90 * made, 0, 255).astype(np.uint8)
