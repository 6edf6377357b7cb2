"""A cache folder of a test's own, but for the compiled kernels: compiling them takes most of a minute each time."""

from __future__ import annotations

from pathlib import Path

from mobilenets.cachefolder import cache_folder


def own_cache(folder: Path) -> str:
    """Makes `folder` an empty cache with the kernels of the present one, and returns it as an environment has it."""
    kernels = cache_folder() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    (folder / "kernels").symlink_to(kernels.absolute())
    return str(folder)
