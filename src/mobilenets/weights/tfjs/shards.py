"""The tensors of a TensorFlow.js model: binary shards, cut up by the manifest in its model.json.

The rules are those of `io_utils.ts` in tensorflow/tfjs: the shards of a group are one run of bytes, its tensors stand
in it one after the other, little-endian, and a quantised value v stands for v * scale + min, in double precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ...errors import UserError

SHARDS_LIMIT = 2**30  # bytes of all shards together

DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "|b1", "complex64": "<c8"}
STORED = {"uint8": "|u1", "uint16": "<u2", "float16": "<f2"}


@dataclass(frozen=True, kw_only=True)
class Shards:
    """`tensors` by name, as TensorFlow.js has them in memory; `stored` is how floats were, `paths` are the shards."""

    tensors: dict[str, np.ndarray]
    stored: frozenset[str]
    paths: tuple[Path, ...]


def read_shards(manifest: Any, model_json: Path) -> Shards:
    """The tensors of a weights manifest, whose shards stand beside `model_json`.

    Raises UserError where a shard is missing, lies outside that folder, or is not as long as the manifest says.
    """
    tensors: dict[str, np.ndarray] = {}
    stored: set[str] = set()
    total = 0
    read: list[Path] = []
    try:
        for group in manifest:
            paths = [_shard(name, model_json) for name in group["paths"]]
            read += paths
            total += sum(path.stat().st_size for path in paths)
            if total > SHARDS_LIMIT:
                raise UserError(f"{model_json}: its shards have {total} bytes; up to {SHARDS_LIMIT} are read")
            run = _Run(b"".join(path.read_bytes() for path in paths), str(model_json), ", ".join(group["paths"]))
            for entry in group["weights"]:
                name = entry["name"]
                if not isinstance(name, str):
                    raise UserError(f"{model_json}: its manifest calls a tensor {name!r}, which is no name")
                if name in tensors:
                    raise UserError(f"{model_json}: its manifest names the tensor {name} twice")
                tensors[name] = run.tensor(entry)
                if entry["dtype"] == "float32":
                    stored.add(entry.get("quantization", {}).get("dtype", "float32"))
            run.finish()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{model_json}: its weights manifest is broken ({type(error).__name__}: {error})") from None
    except OSError as error:
        raise UserError(f"{model_json}: a shard cannot be read: {error}") from None
    return Shards(tensors=tensors, stored=frozenset(stored), paths=tuple(read))


def _shard(name: Any, model_json: Path) -> Path:
    """The path of a shard. A manifest is foreign text: a name that leads out of its folder is refused."""
    inside = PurePosixPath(str(name))
    if inside.is_absolute() or ".." in inside.parts or "\\" in str(name) or PureWindowsPath(str(name)).drive:
        raise UserError(f"{model_json}: the shard {name!r} lies outside the model's folder")
    path = model_json.parent / inside
    if not path.is_file():
        raise UserError(f"{model_json}: the shard {name!r} is missing beside it")
    return path


class _Run:
    """The bytes of a group, read from the start to the end."""

    def __init__(self, content: bytes, where: str, names: str) -> None:
        self.content, self.where, self.names, self.at = content, where, names, 0

    def take(self, size: int, name: str) -> memoryview:
        """The next `size` bytes."""
        if size > len(self.content) - self.at:
            missing = f"{name} needs {size} bytes, {len(self.content) - self.at} are left"
            raise UserError(f"{self.where}: {self.names} is shorter than the manifest says: {missing}")
        self.at += size
        return memoryview(self.content)[self.at - size : self.at]

    def finish(self) -> None:
        """Raises UserError where bytes are left over."""
        if self.at != len(self.content):
            rest = len(self.content) - self.at
            raise UserError(f"{self.where}: {self.names} is {rest} bytes longer than the manifest says")

    def tensor(self, entry: dict[str, Any]) -> np.ndarray:
        """The next tensor."""
        name, dtype, shape = entry["name"], entry["dtype"], [int(size) for size in entry["shape"]]
        if any(size < 0 for size in shape):
            raise UserError(f"{self.where}: the tensor {name} has the shape {shape}")
        count = math.prod(shape)
        if dtype == "string":
            return self._strings(count, name).reshape(shape)
        quantisation = entry.get("quantization")
        if quantisation is not None:
            return self._quantised(count, entry, quantisation).reshape(shape)
        if dtype not in DTYPES:
            raise UserError(f"{self.where}: the tensor {name} is {dtype}; {', '.join(DTYPES)} and string are read")
        kind = np.dtype(DTYPES[dtype])
        return np.frombuffer(self.take(count * kind.itemsize, name), kind).reshape(shape).copy()

    def _quantised(self, count: int, entry: dict[str, Any], quantisation: dict[str, Any]) -> np.ndarray:
        name, dtype, kept = entry["name"], entry["dtype"], quantisation["dtype"]
        if kept not in STORED or dtype not in ("float32", "int32") or (kept == "float16" and dtype != "float32"):
            raise UserError(f"{self.where}: the tensor {name} is {dtype} stored as {kept}, which is not read")
        kind = np.dtype(STORED[kept])
        raw = np.frombuffer(self.take(count * kind.itemsize, name), kind)
        if kept == "float16":
            return raw.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # judged below
            values = raw * float(quantisation["scale"]) + float(quantisation["min"])
        largest = np.finfo(np.float32).max if dtype == "float32" else 2.0**31 - 1
        if not (np.abs(values) <= largest).all():
            raise UserError(f"{self.where}: the tensor {name} has a scale and a minimum that lead beyond {dtype}")
        return values.astype(np.float32) if dtype == "float32" else np.floor(values + 0.5).astype(np.int32)

    def _strings(self, count: int, name: str) -> np.ndarray:
        """Byte strings, each after its length in four bytes."""
        found = []
        for _ in range(count):
            size = int.from_bytes(self.take(4, name), "little")
            found.append(bytes(self.take(size, name)))
        return np.array(found, object)
