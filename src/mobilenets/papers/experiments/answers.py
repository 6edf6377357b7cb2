"""On which of the reported images a Run's network is right: what paired comparisons rest on."""

from __future__ import annotations

import base64
import os

import numpy as np

from ...data.dataset import open_dataset
from ...data.loader import scoring_batches
from ...data.roles import roles
from ...nn.placement import placed
from ...tasks.classify import top_k_hits
from ...training.begin import choose_device
from ...training.loop import Normaliser, compute_logits
from ...training.run import open_run


def right_answers(run: str | os.PathLike[str], data: str, device: str = "auto") -> tuple[str, str]:
    """One bit for each image of the reported split, packed into text (see `unpack`), and the split's name.

    The split and its order are those of `training.trainer`, whose score this repeats image by image.
    """
    opened = open_run(run)
    dataset = open_dataset(data)
    parts = roles(dataset, seed=0)
    place = choose_device(device)
    preprocessing = opened.spec.preprocessing
    network = placed(opened.network(), place)
    batches = scoring_batches(dataset, parts.report, preprocessing)
    logits, truth = compute_logits(network, batches, Normaliser(preprocessing, place), place)
    return pack(top_k_hits(logits, truth, 1)), parts.report_name


def pack(hits: np.ndarray) -> str:
    """(N,) booleans as text, eight to a byte, in base64.

    >>> unpack(pack(np.array([True, False, True])), 3)
    array([ True, False,  True])
    """
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def unpack(text: str, images: int) -> np.ndarray:
    """The (N,) booleans that `pack` was given."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=images).astype(bool)
