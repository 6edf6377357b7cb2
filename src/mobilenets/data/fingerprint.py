"""What identifies a dataset: names, labels, splits and contents."""

from __future__ import annotations

import hashlib

from .dataset import Dataset


def fingerprint(dataset: Dataset) -> str:
    """The SHA-256, in hexadecimal, over the classes' names and each sample's name, label, split and bytes.

    Where the data states a mark of its content (shards do), that mark.
    """
    if dataset.mark is not None:
        return dataset.mark
    digest = hashlib.sha256()
    for label in dataset.classes:
        digest.update(f"{label.name}\0{label.index}\0{label.wnid}\n".encode())
    for sample in dataset.samples:
        digest.update(f"{sample.name}\0{sample.label}\0{sample.split}\0".encode())
        digest.update(hashlib.sha256(dataset.read(sample)).digest())
    return digest.hexdigest()
