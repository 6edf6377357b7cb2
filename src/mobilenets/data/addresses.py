"""Which shards an address names: brace notation, several joined by "::", a local pattern, a folder of tar files."""

from __future__ import annotations

import glob
import itertools
import os
import re
from pathlib import Path

from ..errors import UserError

INDEX_NAME = "shards.json"
STATE_NAME = ".pack.json"  # lies in a folder until `data pack` has finished it
_REMOTE = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 1_000_000


def address_of(path: str | os.PathLike[str]) -> str:
    """The path as text; of an address that went through `pathlib`, which folds "//", with both slashes again.

    >>> address_of(Path("s3://bucket/train-0.tar"))
    's3://bucket/train-0.tar'
    """
    text = os.fspath(path)
    match = _REMOTE.match(text)
    return f"{match[1]}://{text[match.end() :]}" if match else text


def is_remote(address: str) -> bool:
    """Whether the address names a place that is not this machine's file system: it begins with `scheme://`."""
    return _REMOTE.match(address) is not None and not address.lower().startswith("file:/")


def names_shards(address: str) -> bool:
    """Whether the address can only mean shards: remote, braces, several joined by "::", or the index of a set."""
    if is_remote(address) or "::" in address or os.path.basename(address) == INDEX_NAME:
        return True
    return not os.path.exists(address) and address.endswith(".tar") and any(c in address for c in "{}*?")


def expand(address: str) -> list[str]:
    """Every address that the notation stands for, in its order. Raises UserError for braces that do not fit.

    >>> expand("data-{098..101}.tar")
    ['data-098.tar', 'data-099.tar', 'data-100.tar', 'data-101.tar']
    >>> expand("{train,val}-0.tar::more.tar")
    ['train-0.tar', 'val-0.tar', 'more.tar']
    """
    found: list[str] = []
    for part in address.split("::"):
        pieces = [_choices(piece, part) if i % 2 else [piece] for i, piece in enumerate(_BRACES.split(part))]
        if any(brace in literal for (literal,) in pieces[::2] for brace in "{}"):
            raise UserError(f"{part}: braces that do not close; allowed are {{000000..000009}} and {{train,val}}")
        count = 1
        for piece in pieces:
            count *= len(piece)
        if count > _MOST_SHARDS:
            raise UserError(f"{part}: stands for {count:,} shards; at most {_MOST_SHARDS:,} are read")
        found += map("".join, itertools.product(*pieces))
    return found


def local_shards(address: str, suffix: str = ".tar") -> list[Path]:
    """The files of a local address: braces, a pattern, a folder, or one file; sorted where the order is not stated.

    Raises UserError where one that is named is not there, or where nothing fits.
    """
    if os.path.isdir(address):
        paths = [Path(entry.path) for entry in os.scandir(address) if is_shard_name(entry.name, suffix)]
        below = [] if paths else glob.glob(os.path.join(glob.escape(address), "*", f"*{suffix}"))
        paths = sorted(paths or map(Path, below))
    elif any(c in address for c in "*?"):
        paths = sorted(map(Path, glob.glob(address)))
    else:
        paths = [Path(name) for name in expand(address)]
    if not paths:
        raise UserError(f"{address}: no {suffix} file there")
    absent = next((path for path in paths if not path.is_file()), None)
    if absent is not None:
        raise UserError(f"{absent}: no such shard ({len(paths)} are named by {address})")
    return paths


def names_parquet(address: str) -> bool:
    """Whether the address means parquet files that are read where they lie: by name, by a pattern, not by a folder.

    >>> names_parquet("hf://datasets/someone/something/data/train-*.parquet")
    True
    """
    parts = [part.partition("?")[0] if is_remote(part) else part for part in address.split("::")]
    return all(part.lower().endswith(".parquet") for part in parts) and not os.path.isdir(address)


def is_shard_name(name: str, suffix: str = ".tar") -> bool:
    """Whether a file of this name is taken for a shard: of that suffix, not hidden."""
    return name.lower().endswith(suffix) and not name.startswith(".")


def _choices(inside: str, address: str) -> list[str]:
    """What one pair of braces stands for."""
    match = _RANGE.fullmatch(inside)
    if match is None:
        if ".." in inside or not all(inside.split(",")) or "," not in inside:
            raise UserError(
                f"{address}: {{{inside}}} is not understood; allowed are {{000000..000009}} and {{train,val}}"
            )
        return inside.split(",")
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise UserError(f"{address}: {{{inside}}} runs backwards; the smaller number stands first")
    if last - first >= _MOST_SHARDS:
        raise UserError(f"{address}: stands for {last - first + 1:,} shards; at most {_MOST_SHARDS:,} are read")
    return [str(number).zfill(len(match[1])) for number in range(first, last + 1)]
