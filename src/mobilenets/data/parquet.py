"""Parquet files with a column of images, read row group by row group where they lie: nothing is copied or converted.

They are what the Hugging Face Hub keeps most data sets in: `hf://datasets/NAME/data/train-*.parquet`. Training streams
them (see `grouporder`), scoring reads them in order, as remote tar shards.
"""

from __future__ import annotations

import os

from .addresses import address_of, is_remote
from .parquetfiles import ParquetFiles
from .parquetindex import parquet_index
from .ranges import open_ranges
from .shards import ShardDataset, dataset_of


def open_parquet(path: str | os.PathLike[str], *, labels: str | None = None, strict: bool = True) -> ShardDataset:
    """The images of the parquet files at an address (one file, braces, a pattern, several joined by "::").

    Their form is "shards", their samples stand as in the files. `labels` names the column of the class. Raises
    UserError where pyarrow is not installed, for columns that are none and labels that are no classes, ShardError for a
    file that is gone or damaged; with `strict` also for fewer than two classes.
    """
    address = address_of(path)
    index, addresses = parquet_index(address, is_remote(address), labels)
    files = ParquetFiles(index, [open_ranges(file) for file in addresses])
    return dataset_of(address, index, files, strict=strict)
