"""The 1000 classes of ILSVRC-2012 in the order of every network that knows them: sorted by wnid.

`imagenet1k.csv` is written by `benchmarks/record_catalog.py`: wnids from timm's data/_info/imagenet_synsets.txt
(timm 1.0.31, Apache-2.0), names from torchvision's models/_meta.py (torchvision 0.28.0, BSD-3-Clause), which are the
first word of WordNet's synset made unique. Two pairs share that word: n02012849 "crane bird" and n03126707 "crane",
n03710637 "maillot" and n03710721 "maillot tank suit". Other lists name them otherwise, so the wnid decides.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

CLASSES = 1000
_FILE = Path(__file__).with_name("imagenet1k.csv")


@cache
def imagenet_labels() -> tuple[dict[str, Any], ...]:
    """`index` (0...999), `wnid` and `name` of each class, in order; a background class, where a file has one, is extra.

    >>> imagenet_labels()[0]
    {'index': 0, 'wnid': 'n01440764', 'name': 'tench'}
    """
    with open(_FILE, newline="", encoding="utf-8") as file:
        return tuple({**row, "index": int(row["index"])} for row in csv.DictReader(file))
