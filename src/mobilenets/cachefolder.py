"""Where what can be made again is kept between runs: never in a data folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder that `MOBILENETS_CACHE` names, else ~/.cache/mobilenets. It may not exist yet."""
    return Path(os.environ.get("MOBILENETS_CACHE") or Path.home() / ".cache" / "mobilenets")
